//! What bytes are, whatever their sender says they are.

use crate::channels::{AttachmentKind, FileReason};

/// Pictures every browser shows, and those phones make.
const PICTURES: &[&str] =
    &["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif", "image/heif", "image/tiff"];
/// What says of itself that it is a film, and may hold nothing but sound.
const FILMS_OR_SOUND: &[(&str, &str)] = &[
    ("video/mp4", "audio/mp4"),
    ("video/webm", "audio/webm"),
    ("video/quicktime", "audio/mp4"),
    ("video/x-matroska", "audio/webm"),
];
/// Files that run when opened.
const PROGRAMS: &[&str] = &[
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-mach-binary",
    "application/java",
    "application/vnd.android.dex",
    "application/vnd.android.dey",
    "application/x-google-chrome-extension",
];
/// Types that browsers may show in place. Neither HTML nor SVG: both can hold scripts.
const SHOWN_IN_PLACE: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"];

/// The media type of a file that came as `kind`.
///
/// # Errors
/// [`FileReason::Empty`], or [`FileReason::WrongType`] if it is not what it came as, or a program.
pub fn judge(kind: AttachmentKind, bytes: &[u8]) -> Result<&'static str, FileReason> {
    if bytes.is_empty() {
        return Err(FileReason::Empty);
    }
    let found = infer::get(bytes).map(|it| it.mime_type());
    let is_any = |prefix: &str| found.is_some_and(|it| it.starts_with(prefix));
    match (kind, found) {
        (AttachmentKind::Image | AttachmentKind::Sticker, Some(mime)) if PICTURES.contains(&mime) => Ok(mime),
        (AttachmentKind::Video, Some(mime)) if is_any("video/") => Ok(mime),
        (AttachmentKind::Audio, Some(mime)) if is_any("audio/") => Ok(mime),
        (AttachmentKind::Audio, Some(mime)) => {
            let sound = FILMS_OR_SOUND.iter().find(|it| it.0 == mime).ok_or(FileReason::WrongType)?;
            Ok(sound.1)
        }
        (AttachmentKind::File, Some(mime)) if PROGRAMS.contains(&mime) => Err(FileReason::WrongType),
        (AttachmentKind::File, Some(mime)) => Ok(mime),
        (AttachmentKind::File, None) if std::str::from_utf8(bytes).is_ok_and(|it| !it.contains('\0')) => {
            Ok("text/plain")
        }
        (AttachmentKind::File, None) => Ok("application/octet-stream"),
        _ => Err(FileReason::WrongType),
    }
}

/// What bytes are best sent as.
#[must_use]
pub fn kind_of(bytes: &[u8]) -> AttachmentKind {
    let kinds = [AttachmentKind::Image, AttachmentKind::Video, AttachmentKind::Audio];
    kinds.into_iter().find(|it| judge(*it, bytes).is_ok()).unwrap_or(AttachmentKind::File)
}

/// The type to say of a stored file, if browsers may show it in place; what is no picture, sound or film is only for saving.
#[must_use]
pub fn shown_in_place(kind: AttachmentKind, mime: &str) -> bool {
    match kind {
        AttachmentKind::Image | AttachmentKind::Sticker => SHOWN_IN_PLACE.contains(&mime),
        AttachmentKind::Video => mime.starts_with("video/"),
        AttachmentKind::Audio => mime.starts_with("audio/"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const MP4: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2mp41";
    const SVG: &[u8] = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    const HTML: &[u8] = b"<!DOCTYPE html><html><script>alert(1)</script></html>";

    #[track_caller]
    fn check(kind: AttachmentKind, bytes: &[u8], expected: Result<&str, FileReason>) {
        assert_eq!(judge(kind, bytes), expected);
    }

    #[test]
    fn a_file_must_be_what_it_came_as() {
        use AttachmentKind::{Audio, File, Image, Sticker, Video};
        check(Image, PNG, Ok("image/png"));
        check(Sticker, PNG, Ok("image/png"));
        check(Video, MP4, Ok("video/mp4"));
        check(Audio, MP4, Ok("audio/mp4"));
        check(Audio, b"ID3\x03\0\0\0\0\0\0", Ok("audio/mpeg"));
        check(File, b"%PDF-1.7\n", Ok("application/pdf"));
        check(File, "Grüße".as_bytes(), Ok("text/plain"));
        check(File, &[0xff, 0xfe, 0, 1, 2, 3], Ok("application/octet-stream"));
        check(Image, b"", Err(FileReason::Empty));
        for kind in [Image, Sticker, Video, Audio] {
            check(kind, SVG, Err(FileReason::WrongType));
            check(kind, HTML, Err(FileReason::WrongType));
            check(kind, b"no picture at all", Err(FileReason::WrongType));
        }
        assert_eq!(
            [PNG, MP4, b"ID3\x03\0\0\0\0\0\0", b"%PDF-1.7\n", SVG].map(kind_of),
            [Image, Video, Audio, File, File]
        );
        check(Image, MP4, Err(FileReason::WrongType));
        check(Video, PNG, Err(FileReason::WrongType));
        check(Audio, PNG, Err(FileReason::WrongType));
        check(File, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Err(FileReason::WrongType));
    }

    #[test]
    fn what_can_hold_scripts_is_never_shown_in_place() {
        for mime in ["image/svg+xml", "text/html", "text/xml", "application/pdf", "text/plain", "image/tiff"] {
            for kind in [AttachmentKind::Image, AttachmentKind::File, AttachmentKind::Sticker] {
                assert!(!shown_in_place(kind, mime), "{mime}");
            }
        }
        assert!(shown_in_place(AttachmentKind::Image, "image/png"));
        assert!(!shown_in_place(AttachmentKind::File, "image/png"));
    }
}
