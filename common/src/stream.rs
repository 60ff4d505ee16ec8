//! The stream format (docs/FORMATS.md, "Stream"): C2SP chunked encryption, bytes in, bytes out.
