//! What a client is told about a file before its bytes.

/// The media type by the extension of the name; anything else is bytes.
pub(crate) fn media_type(name: &str) -> &'static str {
    let extension = match name.rsplit_once('.') {
        Some((_, extension)) if extension.len() <= 8 => extension.to_ascii_lowercase(),
        _ => return BYTES,
    };
    match extension.as_str() {
        "txt" | "log" | "ini" | "cfg" | "conf" | "toml" | "rst" => "text/plain; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "md" | "markdown" => "text/markdown; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "yaml" | "yml" => "application/yaml",
        "json" | "map" | "ipynb" => "application/json",
        "ndjson" | "jsonl" => "application/x-ndjson",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "zip" | "whl" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "parquet" => "application/vnd.apache.parquet",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "ico" => "image/vnd.microsoft.icon",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        _ => BYTES,
    }
}

const BYTES: &str = "application/octet-stream";

/// `Content-Disposition` with the name to save the file under (RFC 6266). Names that aren't plain
/// ASCII are given twice, the second time in full (RFC 8187).
pub(crate) fn disposition(name: &str) -> String {
    let plain = |c: char| c.is_ascii() && !c.is_ascii_control();
    let mut quoted = String::new();
    for c in name.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if plain(c) => quoted.push(c),
            _ => quoted.push('_'),
        }
    }
    let mut header = format!("inline; filename=\"{quoted}\"");
    if !name.chars().all(plain) {
        header.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            match byte {
                b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => header.push(b.into()),
                b => header.push_str(&format!("%{b:02X}")),
            }
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::{disposition, media_type};

    #[test]
    fn types_go_by_the_extension() {
        assert_eq!(media_type("a.JSON"), "application/json");
        assert_eq!(media_type("a.b.png"), "image/png");
        assert_eq!(media_type("json"), "application/octet-stream");
        assert_eq!(media_type("a.unheard-of"), "application/octet-stream");
        assert_eq!(media_type(""), "application/octet-stream");
    }

    #[test]
    fn a_name_can_not_leave_its_header() {
        assert_eq!(disposition("a.txt"), "inline; filename=\"a.txt\"");
        assert_eq!(disposition("a\"\\b"), "inline; filename=\"a\\\"\\\\b\"");
        assert_eq!(
            disposition("ä\r\n"),
            "inline; filename=\"___\"; filename*=UTF-8''%C3%A4%0D%0A"
        );
    }
}
