//! Answers HTTP requests for files from a snapshot in memory.
//!
//! *Owns* every byte that it serves. *Never* touches the disk after [`Site::load`], reads a clock
//! or writes to a socket: a request's parts come in, an [`Answer`] comes out.
//!
//! *Invariant:* a request's path is looked up, never resolved on disk. The decoded path must equal a
//! key of the map, and keys come only from the files that were loaded, so no path can reach beyond
//! the snapshot.

mod answer;
mod load;
mod media;

use std::collections::HashMap;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use runtime::Answer;
use sha1::{Digest, Sha1};

pub use load::{LoadError, Skipped};

/// The built-in page may load its own style, script and icon, and connect back to this server.
const EMBEDDED_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// An operator's own files may hold inline scripts and load from anywhere, which this server
/// cannot know, so the policy only keeps other sites from framing them (clickjacking).
const DIRECTORY_POLICY: &str = "frame-ancestors 'self'";

/// A set of files by path.
#[derive(Debug)]
pub struct Site {
    entries: HashMap<String, Entry>,
    policy: &'static str,
    skipped: Vec<Skipped>,
}

/// The entry at a path.
#[derive(Clone, Debug)]
enum Entry {
    File(File),
    /// A directory without its final slash; relative links in its page would lead elsewhere.
    Moved(String),
}

/// A file and the fields that never change.
#[derive(Clone, Debug)]
struct File {
    content: Bytes,
    media_type: &'static str,
    /// A strong entity tag with its quotes (RFC 9110 section 8.8.3).
    tag: String,
}

impl File {
    fn new(path: &str, content: Bytes) -> Self {
        let digest = Sha1::digest(&content);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            media_type: media::type_of(path),
            tag: format!("\"{hex}\""),
            content,
        }
    }
}

impl Site {
    /// The page that is built into the server: a chat for rooms.
    pub fn embedded() -> Self {
        let files: [(&str, &'static [u8]); 4] = [
            ("/index.html", include_bytes!("../page/index.html")),
            ("/page.css", include_bytes!("../page/page.css")),
            ("/page.js", include_bytes!("../page/page.js")),
            ("/favicon.svg", include_bytes!("../page/favicon.svg")),
        ];
        let mut site = Self::empty(EMBEDDED_POLICY);
        for (path, content) in files {
            site.insert(path.to_owned(), Bytes::from_static(content));
        }
        site
    }

    /// Reads a directory into memory, up to `bytes_max` in all.
    ///
    /// These are left out, and listed by [`Site::skipped`]: names that begin with a dot (other than
    /// `.well-known`), since `.env` and `.git` are usually there by accident; symbolic links that
    /// lead out of the directory or in a circle; anything that is not a regular file.
    ///
    /// # Errors
    /// When something cannot be read, or the files exceed `bytes_max`.
    pub fn load(dir: &std::path::Path, bytes_max: usize) -> Result<Self, LoadError> {
        load::load(dir, bytes_max)
    }

    /// The files that [`Site::load`] left out and why, for the log.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The number of files that are served.
    pub fn files(&self) -> usize {
        let files = self.entries.iter();
        files
            .filter(|(path, entry)| matches!(entry, Entry::File(_)) && !path.ends_with('/'))
            .count()
    }

    /// Answers a request that is not a handshake. HEAD is answered like GET; the caller sends no body.
    ///
    /// `path` is the request's target, percent-encoded, and may have a query, which is ignored.
    /// `if_none_match` is that field's value; several fields are joined by the caller with commas.
    pub fn answer(&self, method: &str, path: &str, if_none_match: Option<&[u8]>) -> Answer {
        let encoded = path.split_once('?').map_or(path, |(path, _query)| path);
        let decoded = percent_decode_str(encoded).decode_utf8().ok();
        let entry = decoded.and_then(|path| self.entries.get(path.as_ref()));
        match (entry, method) {
            (None, _) => self.no_endpoint(),
            (Some(_), method) if !matches!(method, "GET" | "HEAD") => answer::wrong_method(),
            (Some(Entry::Moved(location)), _) => answer::moved(location),
            (Some(Entry::File(file)), _) => self.answer_file(file, if_none_match),
        }
    }

    /// Answers a handshake to a path that is not a WebSocket endpoint.
    pub fn no_endpoint(&self) -> Answer {
        answer::not_found(self.has_start_page())
    }

    fn has_start_page(&self) -> bool {
        self.entries.contains_key("/")
    }

    fn answer_file(&self, file: &File, if_none_match: Option<&[u8]>) -> Answer {
        if if_none_match.is_some_and(|field| answer::names_tag(field, &file.tag)) {
            answer::not_modified(file)
        } else {
            answer::content(file, self.policy)
        }
    }

    fn empty(policy: &'static str) -> Self {
        Self {
            entries: HashMap::new(),
            policy,
            skipped: Vec::new(),
        }
    }

    /// Adds a file, and its directory's entries if it is the directory's page.
    fn insert(&mut self, path: String, content: Bytes) {
        let file = File::new(&path, content);
        if let Some(dir) = path
            .strip_suffix("index.html")
            .filter(|dir| dir.ends_with('/'))
        {
            self.entries
                .insert(dir.to_owned(), Entry::File(file.clone()));
            let bare = dir.trim_end_matches('/');
            if !bare.is_empty() {
                let location = Entry::Moved(answer::encode_path(dir));
                self.entries.insert(bare.to_owned(), location);
            }
        }
        self.entries.insert(path, Entry::File(file));
    }
}

#[cfg(test)]
mod tests;
