//! Which files are served, which are not, and with which fields.

use std::fs;
use std::path::Path;

use super::*;

fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut found = answer.fields.iter().filter(|(key, _)| *key == name);
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} stands twice");
    value
}

fn write(dir: &Path, path: &str, content: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn example() -> (tempfile::TempDir, Site) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "index.html", b"<p>root");
    write(dir.path(), "a.txt", b"a");
    write(dir.path(), "empty", b"");
    write(dir.path(), "sub dir/index.html", b"<p>sub");
    write(dir.path(), "sub dir/x%y.js", b"x");
    write(dir.path(), ".well-known/security.txt", b"mail");
    write(dir.path(), ".env", b"SECRET");
    write(dir.path(), "..data/z.txt", b"z");
    let site = Site::load(dir.path(), 1 << 20).unwrap();
    (dir, site)
}

fn status(site: &Site, path: &str) -> u16 {
    site.answer("GET", path, None).status
}

#[test]
fn embedded_paths_are_served_with_type_and_policy() {
    let site = Site::embedded();
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let answer = site.answer("GET", path, None);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(field(&answer, "Content-Type"), Some(media_type));
        assert_eq!(field(&answer, "X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(field(&answer, "Referrer-Policy"), Some("no-referrer"));
        assert_eq!(field(&answer, "Cache-Control"), Some("no-cache"));
        let policy = field(&answer, "Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(policy.ends_with("; frame-ancestors 'none'"));
        assert!(!policy.contains("  "));
        assert!(!answer.body.is_empty());
    }
    assert_eq!(site.files(), 4);
}

#[test]
fn embedded_page_obeys_its_own_policy() {
    let page = String::from_utf8_lossy(include_bytes!("../../page/index.html")).to_lowercase();
    assert!(
        !page.contains("<style"),
        "style-src 'self' forbids inline styles"
    );
    assert!(
        !page.contains(" style="),
        "style-src 'self' forbids inline styles"
    );
    assert!(
        !page.contains(" onclick="),
        "script-src 'self' forbids inline handlers"
    );
    for script in page.split("<script").skip(1) {
        let tag = script.split('>').next().unwrap();
        assert!(
            tag.contains("src="),
            "script-src 'self' forbids inline scripts: {tag}"
        );
    }
}

#[test]
fn directory_files_are_served_by_exact_path() {
    let (_dir, site) = example();
    for (path, body) in [
        ("/", "<p>root"),
        ("/index.html", "<p>root"),
        ("/?x=/../..", "<p>root"),
        ("/a.txt", "a"),
        ("/%61%2etxt?v=1", "a"),
        ("/empty", ""),
        ("/sub%20dir/", "<p>sub"),
        ("/sub%20dir/index.html", "<p>sub"),
        ("/sub%20dir/x%25y.js", "x"),
        ("/.well-known/security.txt", "mail"),
    ] {
        let answer = site.answer("GET", path, None);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, body.as_bytes(), "{path}");
    }
    let answer = site.answer("GET", "/", None);
    let policy = field(&answer, "Content-Security-Policy");
    assert_eq!(policy, Some("frame-ancestors 'self'"));
    assert_eq!(site.files(), 6);
}

#[test]
fn directory_path_without_slash_is_moved() {
    let (_dir, site) = example();
    let answer = site.answer("GET", "/sub%20dir", None);
    assert_eq!(answer.status, 301);
    assert_eq!(field(&answer, "Location"), Some("/sub%20dir/"));
}

#[test]
fn path_outside_the_snapshot_is_not_found() {
    let (_dir, site) = example();
    for path in [
        "",
        "*",
        "a.txt",
        "//",
        "//a.txt",
        "/a.txt/",
        "/A.txt",
        "/./a.txt",
        "/sub%20dir/../a.txt",
        "/sub%20dir/%2e%2e/a.txt",
        "/../../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2561.txt",
        "/a.txt%00",
        "/a.txt%00.html",
        "/%ff",
        "/%",
        "/..\\a.txt",
        "/.env",
        "/..data/z.txt",
        "/.well-known",
        "http://localhost/a.txt",
    ] {
        assert_eq!(status(&site, path), 404, "{path}");
    }
}

#[test]
fn not_found_names_the_endpoints_and_echoes_nothing() {
    let answer = Site::embedded().answer("GET", "/<script>", None);
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.contains("/echo") && text.contains("/rooms/{room}"));
    assert!(!text.contains("script"));
    assert_eq!(
        field(&answer, "Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn head_is_answered_like_get() {
    let (_dir, site) = example();
    for path in ["/", "/a.txt", "/sub%20dir", "/none"] {
        let get = site.answer("GET", path, None);
        let head = site.answer("HEAD", path, None);
        assert_eq!((head.status, &head.fields), (get.status, &get.fields));
        assert_eq!(head.body, get.body);
    }
}

#[test]
fn method_other_than_get_and_head_is_refused_with_allow() {
    let (_dir, site) = example();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", ""] {
        let answer = site.answer(method, "/a.txt", None);
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(field(&answer, "Allow"), Some("GET, HEAD"));
        assert_eq!(site.answer(method, "/none", None).status, 404);
    }
}

#[test]
fn if_none_match_naming_the_tag_is_answered_not_modified() {
    let (_dir, site) = example();
    let full = site.answer("GET", "/a.txt", None);
    let tag = field(&full, "ETag").unwrap();
    assert_eq!(tag, "\"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8\"");
    for (value, expected) in [
        (tag.to_owned(), 304),
        (format!("W/{tag}"), 304),
        (format!("  {tag}  "), 304),
        (format!("\"x\", {tag}"), 304),
        (format!("\"x\",W/\"y\" ,\t{tag},\"z\""), 304),
        (format!("\"a,b\", {tag}"), 304),
        ("*".to_owned(), 304),
        (" * ".to_owned(), 304),
        (String::new(), 200),
        ("\"x\"".to_owned(), 200),
        (tag.trim_matches('"').to_owned(), 200),
        (format!("\"x{}", tag.trim_start_matches('"')), 200),
        (tag.to_uppercase(), 200),
        (format!("\"x\" {tag}"), 200),
        (format!("\"\"{tag}"), 200),
        (format!(",{tag}"), 200),
        (tag.trim_end_matches('"').to_owned(), 200),
        ("W/".to_owned(), 200),
        ("\"".to_owned(), 200),
    ] {
        let answer = site.answer("GET", "/a.txt", Some(value.as_bytes()));
        assert_eq!(answer.status, expected, "{value}");
        assert_eq!(field(&answer, "ETag"), Some(tag));
        assert_eq!(answer.body, &b"a"[..]);
    }
    assert_eq!(site.answer("GET", "/a.txt", Some(b"\xff\"")).status, 200);
    assert_eq!(site.answer("GET", "/none", Some(b"*")).status, 404);
}

#[test]
fn load_over_the_bound_is_refused_naming_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "big.bin", &[0; 4096]);
    let error = Site::load(dir.path(), 4096).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { .. }));
    assert!(error.to_string().contains("static_bytes_max (4096 bytes)"));
    assert!(Site::load(dir.path(), 4096 + 1024).is_ok());
}

#[test]
fn load_of_many_empty_files_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        write(dir.path(), &n.to_string(), b"");
    }
    assert!(Site::load(dir.path(), 1024).is_err());
}

#[test]
fn load_of_nothing_or_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "file", b"");
    let missing = Site::load(&dir.path().join("missing"), 1 << 20).unwrap_err();
    assert!(missing.to_string().contains("static_dir: cannot read "));
    let file = Site::load(&dir.path().join("file"), 1 << 20).unwrap_err();
    assert!(matches!(file, LoadError::NotADirectory { .. }));
}

#[cfg(unix)]
#[test]
fn load_follows_links_only_within_the_directory() {
    use std::os::unix::fs::symlink;

    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.txt", b"secret");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "real/a.txt", b"a");
    symlink("real/a.txt", root.join("link.txt")).unwrap();
    symlink("real", root.join("alias")).unwrap();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink(outside.path().join("secret.txt"), root.join("out.txt")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("itself", root.join("itself")).unwrap();
    symlink("..", root.join("real/up")).unwrap();

    let site = Site::load(root, 1 << 20).unwrap();
    for path in ["/real/a.txt", "/link.txt", "/alias/a.txt"] {
        assert_eq!(status(&site, path), 200, "{path}");
    }
    for path in [
        "/out/secret.txt",
        "/out.txt",
        "/dangling",
        "/real/up/link.txt",
    ] {
        assert_eq!(status(&site, path), 404, "{path}");
    }
    let skipped: Vec<_> = site.skipped().iter().map(ToString::to_string).collect();
    for (name, reason) in [
        ("out", "leads out"),
        ("out.txt", "leads out"),
        ("dangling", "leads nowhere"),
        ("itself", "leads nowhere"),
        ("up", "in a circle"),
    ] {
        let served = format!("/{name} is not served: ");
        let line = skipped.iter().find(|line| line.contains(&served));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{name} in {skipped:?}"
        );
    }
}

#[test]
fn directory_without_a_start_page_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "sub/index.html", b"x");
    let site = Site::load(dir.path(), 1 << 20).unwrap();
    let told: Vec<_> = site.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("has no index.html"), "{told:?}");
    assert!(!site.skipped()[0].is_usual());
    let names_one = |site: &Site| {
        let answer = site.answer("GET", "/nowhere", None);
        assert_eq!(answer.status, 404);
        String::from_utf8_lossy(&answer.body).contains("start page is at /")
    };
    assert!(!names_one(&site));
    assert!(names_one(&example().1));
}

#[test]
fn media_types_follow_the_extension() {
    for (path, expected) in [
        ("/a.HTML", "text/html; charset=utf-8"),
        ("/a.min.js", "text/javascript; charset=utf-8"),
        ("/a.js.map", "application/json"),
        ("/a.woff2", "font/woff2"),
        ("/a.unknown", "application/octet-stream"),
        ("/plain", "application/octet-stream"),
        ("/dir.html/plain", "application/octet-stream"),
    ] {
        assert_eq!(media::type_of(path), expected, "{path}");
    }
}
