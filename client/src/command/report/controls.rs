//! For which controls a section is evidence. "Towards": whether a control is met, an examiner decides, from
//! more than this.
//!
//! SOC 2 is the Trust Services Criteria of 2017 (points of focus 2022), GDPR Regulation (EU) 2016/679,
//! PCI DSS version 4.0.1, ISO 27001 the controls of annex A of ISO/IEC 27001:2022.

/// A section of the report and the controls towards which it is evidence.
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) soc2: &'static str,
    pub(super) gdpr: &'static str,
    pub(super) pci: &'static str,
    pub(super) iso: &'static str,
}

/// One row for each section, in their order.
pub(super) const ROWS: [Row; 10] = [
    row("Integrity of the log", "CC7.2", "Art. 5(2), 32(1)(b)", "10.3, 10.5", "A.8.15"),
    row("Keys and their rotation", "CC6.1", "Art. 32(1)(a)", "3.6, 3.7", "A.8.24"),
    row("Keys made", "CC6.1", "Art. 32(1)(a)", "3.7.1", "A.8.24"),
    row("Access to keys", "CC6.1, CC6.3", "Art. 5(1)(f), 32(1)(b)", "7.2, 10.2", "A.5.15, A.8.15"),
    row("Policy changes", "CC6.2, CC8.1", "Art. 24(1), 32(1)(d)", "7.2, 6.5.1", "A.5.18, A.8.32"),
    row("Changes of access", "CC6.2, CC6.3", "Art. 32(4)", "3.7.5, 7.2, 8.2.5", "A.5.18, A.6.5"),
    row("Failures and denials", "CC7.2, CC7.3", "Art. 32(1)(d), 33(5)", "10.2.1.4, 10.4", "A.8.16"),
    row("Brakes", "CC7.4", "Art. 33, 32(1)(b)", "3.7.5, 12.10", "A.5.26"),
    row("Alerts", "CC7.2, CC7.3", "Art. 33(1)", "10.7, 12.10.5", "A.5.25, A.8.16"),
    row("Backups and retention", "A1.2", "Art. 5(1)(e), 32(1)(c)", "10.5.1", "A.8.13, A.8.15"),
];

const fn row(
    section: &'static str,
    soc2: &'static str,
    gdpr: &'static str,
    pci: &'static str,
    iso: &'static str,
) -> Row {
    Row { section, soc2, gdpr, pci, iso }
}
