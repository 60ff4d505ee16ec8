//! Frames: requests decode without a panic and without allocating, replies without allocating more than
//! a frame may hold; whatever decodes has one encoding, so it encodes to the bytes it came from.
#![no_main]
use keyagent_common::codec::{BorrowDecode, Encode, decode, frame};
use keyagent_common::frame::{HEADER_BYTES, Header, MAX_FRAME_BYTES};
use keyagent_common::op::*;
use libfuzzer_sys::fuzz_target;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fuzz_target!(|data: &[u8]| {
    let header = match Header::parse(data) {
        Ok(Some(header)) => {
            assert_eq!(header.encode().unwrap(), data[..HEADER_BYTES]);
            Some(header)
        }
        _ => None,
    };
    // The body is tried as every message, whatever the header says: no luck is needed to reach one.
    let body = data.get(HEADER_BYTES..).unwrap_or_default();
    let header = header.unwrap_or(Header { body_bytes: 0, request_id: 0, code: 0, on_behalf_of: false });
    for code in OperationCode::ALL {
        match code {
            OperationCode::Hello => both::<Hello>(header, body),
            OperationCode::Status => both::<Status>(header, body),
            OperationCode::Health => both::<Health>(header, body),
            OperationCode::Stop => both::<Stop>(header, body),
            OperationCode::Lock => both::<Lock>(header, body),
            OperationCode::Unlock => both::<Unlock>(header, body),
            OperationCode::Reload => both::<Reload>(header, body),
            OperationCode::Encrypt => both::<Encrypt>(header, body),
            OperationCode::Decrypt => both::<Decrypt>(header, body),
            OperationCode::DataKey => both::<DataKey>(header, body),
            OperationCode::DataKeyOpen => both::<DataKeyOpen>(header, body),
            OperationCode::Maintenance => both::<Maintenance>(header, body),
            OperationCode::AuditQuery => both::<AuditQuery>(header, body),
            OperationCode::Watch => both::<Watch>(header, body),
            OperationCode::KeyCreate => both::<KeyCreate>(header, body),
            OperationCode::KeyList => both::<KeyList>(header, body),
            OperationCode::KeyDisable => both::<KeyDisable>(header, body),
            OperationCode::KeyEnable => both::<KeyEnable>(header, body),
            OperationCode::Rewrap => both::<Rewrap>(header, body),
            OperationCode::Hmac => both::<HmacTag>(header, body),
            OperationCode::JwtSign => both::<JwtSign>(header, body),
            OperationCode::JwtVerify => both::<JwtVerify>(header, body),
            OperationCode::Random => both::<Random>(header, body),
            OperationCode::Batch => both::<Batch>(header, body),
            OperationCode::KeyShow => both::<KeyShow>(header, body),
            OperationCode::KeyConfigure => both::<KeyConfigure>(header, body),
            OperationCode::KeyRotate => both::<KeyRotate>(header, body),
            OperationCode::KeyPromote => both::<KeyPromote>(header, body),
            OperationCode::KeyRetire => both::<KeyRetire>(header, body),
            OperationCode::KeyReinstate => both::<KeyReinstate>(header, body),
            OperationCode::KeyDestroy => both::<KeyDestroy>(header, body),
            OperationCode::BackupCreate => both::<BackupCreate>(header, body),
            OperationCode::BackupRestore => both::<BackupRestore>(header, body),
            OperationCode::MasterRotate => both::<MasterRotate>(header, body),
        }
    }
    one::<ErrorReply>(header, body, 0);
    one::<OnBehalfOf>(header, body, 0);
});

fn both<'a, O: Operation>(header: Header, body: &'a [u8]) {
    one::<O::Request<'a>>(header, body, 0);
    one::<O::Reply<'a>>(header, body, MAX_FRAME_BYTES);
}

fn one<'a, T: BorrowDecode<'a, ()> + Encode>(header: Header, body: &'a [u8], most: usize) {
    let (decoded, allocated) = allocated_by(|| decode::<T>(body));
    assert!(allocated <= most, "{allocated} bytes for a body of {}", body.len());
    if let Ok(value) = decoded {
        assert_eq!(frame(header.request_id, header.code, &value).unwrap()[HEADER_BYTES..], *body);
    }
}

/// What a call returns, and how many bytes it asked for on the way. A fuzz target has one thread.
fn allocated_by<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATED.load(Relaxed);
    let result = call();
    (result, ALLOCATED.load(Relaxed) - before)
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the place came from `alloc` above.
        unsafe { System.dealloc(place, layout) }
    }
}
