//! Clearing the vector registers, where ciphers and memcpy leave key bytes.
//!
//! Must never touch a register the calling convention wants preserved.

#![expect(unsafe_code, reason = "registers can only be cleared in assembly")]

/// Zeroes the vector registers of this thread: what a debugger, a core file or the next context switch would store.
///
/// On x86-64: xmm/ymm/zmm 0-15, zmm16-31 and the mask registers as far as the processor has them (found out
/// once). On other processors it does nothing: there the caller must rely on the locked stack alone.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub fn clear_vector_registers() {
    if super::CONTROL_UNSCRUBBED {
        return;
    }
    let level: u32 = if std::arch::is_x86_feature_detected!("avx512f") {
        2
    } else {
        u32::from(std::arch::is_x86_feature_detected!("avx"))
    };
    // SAFETY: uses only instructions the processor was seen to have, touches no memory, and declares every
    // register it changes: all vector and mask registers are the caller's to lose in the C calling convention.
    unsafe {
        std::arch::asm!(
            "cmp {level:e}, 1",
            "jb 2f",
            "vzeroall", // whole registers 0-15; leaves the flags alone
            "je 3f",
            "vpxord zmm16, zmm16, zmm16", "vpxord zmm17, zmm17, zmm17",
            "vpxord zmm18, zmm18, zmm18", "vpxord zmm19, zmm19, zmm19",
            "vpxord zmm20, zmm20, zmm20", "vpxord zmm21, zmm21, zmm21",
            "vpxord zmm22, zmm22, zmm22", "vpxord zmm23, zmm23, zmm23",
            "vpxord zmm24, zmm24, zmm24", "vpxord zmm25, zmm25, zmm25",
            "vpxord zmm26, zmm26, zmm26", "vpxord zmm27, zmm27, zmm27",
            "vpxord zmm28, zmm28, zmm28", "vpxord zmm29, zmm29, zmm29",
            "vpxord zmm30, zmm30, zmm30", "vpxord zmm31, zmm31, zmm31",
            "kxorw k0, k0, k0", "kxorw k1, k1, k1", "kxorw k2, k2, k2", "kxorw k3, k3, k3",
            "kxorw k4, k4, k4", "kxorw k5, k5, k5", "kxorw k6, k6, k6", "kxorw k7, k7, k7",
            "jmp 3f",
            "2:",
            "pxor xmm0, xmm0", "pxor xmm1, xmm1", "pxor xmm2, xmm2", "pxor xmm3, xmm3",
            "pxor xmm4, xmm4", "pxor xmm5, xmm5", "pxor xmm6, xmm6", "pxor xmm7, xmm7",
            "pxor xmm8, xmm8", "pxor xmm9, xmm9", "pxor xmm10, xmm10", "pxor xmm11, xmm11",
            "pxor xmm12, xmm12", "pxor xmm13, xmm13", "pxor xmm14, xmm14", "pxor xmm15, xmm15",
            "3:",
            level = in(reg) level,
            clobber_abi("sysv64"),
            options(nomem, nostack),
        );
    }
}

/// Does nothing on this processor: there the caller must rely on the locked stack alone.
#[cfg(not(target_arch = "x86_64"))]
pub fn clear_vector_registers() {}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Loads ones into the highest registers there are, calls `between`, and returns what two of them hold then.
    fn zmm_after(between: fn()) -> [u8; 128] {
        let mut seen = [0u8; 128];
        // SAFETY: test only; run where avx512f was detected, writes 128 bytes into `seen`, saves nothing it must.
        unsafe {
            std::arch::asm!(
                "vpternlogd zmm0, zmm0, zmm0, 255",
                "vpternlogd zmm31, zmm31, zmm31, 255",
                "mov r12, rsp",
                "and rsp, -16",
                "call {between}",
                "mov rsp, r12",
                "vmovdqu8 [r13], zmm0",
                "vmovdqu8 [r13 + 64], zmm31",
                between = in(reg) between,
                in("r13") seen.as_mut_ptr(),
                out("r12") _,
                clobber_abi("sysv64"),
            );
        }
        seen
    }

    #[test]
    fn clears_what_was_there() {
        if !std::arch::is_x86_feature_detected!("avx512f") {
            eprintln!("SKIPPED: no AVX-512 here, so zmm16-31 cannot be looked at");
            return;
        }
        clear_vector_registers(); // the detection is cached now
        assert_eq!(zmm_after(|| {}), [0xFF; 128], "the probe itself must see ones");
        assert_eq!(zmm_after(clear_vector_registers), [0; 128]);
    }
}
