//! The output of an earlier run: which prompts it answered, and where to continue.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Deserialize;

use super::lines::{self, Line};
use super::prompt::Id;

/// The beginning of every result.
const BEGINNING: &[u8] = b"{\"id\":";

/// The longest line that is read: an answer can be longer than any prompt.
const LONGEST: usize = 256 * 1024 * 1024;

/// The part of an earlier result that matters.
#[derive(Deserialize)]
struct Earlier {
    id: Id,
    ok: bool,
}

/// An output file, ready for the next line.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) file: File,
    pub(crate) answered: HashSet<Id>,
    /// The number of lines that are not results. They are left as they are.
    pub(crate) strange: u64,
}

/// Opens the output at `path`, locks it against other runs, and reads it.
pub(crate) fn open(path: &Path) -> io::Result<Resumed> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        // A pipe or a device, which cannot be read.
        let file = OpenOptions::new().append(true).open(path)?;
        return Ok(Resumed { file, answered: HashSet::new(), strange: 0 });
    }
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("another run is writing to it")),
        // Some file systems have no locks.
        Err(TryLockError::Error(_)) | Ok(()) => {}
    }
    read(file)
}

fn read(mut file: File) -> io::Result<Resumed> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(&file);
    let (mut answered, mut strange) = (HashSet::new(), 0);
    let (mut buffer, mut at) = (Vec::new(), 0);
    let mut tail = Tail::Ended;
    while let Some(line) = lines::next(&mut reader, &mut buffer, LONGEST)? {
        let earlier = serde_json::from_slice::<Earlier>(&buffer).ok().filter(|_| !line.too_long);
        tail = Tail::of(&line, &buffer, earlier.is_some(), at);
        match earlier {
            Some(Earlier { id, ok: true }) => drop(answered.insert(id)),
            Some(_) => {}
            None => strange += u64::from(!buffer.trim_ascii().is_empty() && !matches!(tail, Tail::Torn(_))),
        }
        at += line.bytes;
    }
    match tail {
        Tail::Ended => {}
        Tail::Torn(from) => file.set_len(from)?,
        Tail::Unended => file.write_all(b"\n")?,
    }
    Ok(Resumed { file, answered, strange })
}

/// The end of the file, which decides what to do before the next line is written.
enum Tail {
    /// A line end.
    Ended,
    /// A line without a line end, but a whole result, or not a result at all: the line end is added.
    Unended,
    /// Half of a result, which begins here: it is cut off.
    Torn(u64),
}

impl Tail {
    fn of(line: &Line, text: &[u8], is_result: bool, at: u64) -> Self {
        let ours = text.starts_with(BEGINNING) || BEGINNING.starts_with(text);
        match (line.ended, is_result) {
            (true, _) => Self::Ended,
            (false, false) if ours => Self::Torn(at),
            (false, _) => Self::Unended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Resumes a file with this content; returns its content then, the number of answered ids, and of strange lines.
    fn resumed(content: &[u8]) -> (Vec<u8>, usize, u64) {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("aplomb-resume-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let resumed = open(&path).unwrap();
        let held = (std::fs::read(&path).unwrap(), resumed.answered.len(), resumed.strange);
        std::fs::remove_file(&path).unwrap();
        held
    }

    const WHOLE: &[u8] = b"{\"id\":1,\"ok\":true,\"text\":\"a\"}\n{\"id\":2,\"ok\":false,\"text\":null}\n";

    #[test]
    fn only_answered_prompts_count() {
        assert_eq!(resumed(WHOLE), (WHOLE.to_vec(), 1, 0));
        assert_eq!(resumed(b""), (Vec::new(), 0, 0));
    }

    #[test]
    fn a_torn_line_is_cut_off() {
        for torn in [
            "{",
            "{\"id\"",
            "{\"id\":3,\"ok\":true,\"te",
            "{\"id\":3,\"ok\":true",
        ] {
            let content = [WHOLE, torn.as_bytes()].concat();
            assert_eq!(resumed(&content), (WHOLE.to_vec(), 1, 0), "{torn}");
        }
        assert_eq!(resumed(b"{\"id\":3"), (Vec::new(), 0, 0));
    }

    #[test]
    fn a_line_that_lacks_only_its_line_end_gets_one() {
        let (held, answered, strange) = resumed(WHOLE.trim_ascii_end());
        assert_eq!((held.as_slice(), answered, strange), (WHOLE, 1, 0));
    }

    #[test]
    fn lines_that_are_not_results_are_left_as_they_are() {
        assert_eq!(resumed(b"notes\nmore notes"), (b"notes\nmore notes\n".to_vec(), 0, 2));
        let mixed = [b"{\"id\":9,\"ok\":tr\n", WHOLE].concat();
        assert_eq!(resumed(&mixed), (mixed.clone(), 1, 1));
    }

    #[test]
    fn two_runs_do_not_write_to_one_file() {
        let path = std::env::temp_dir().join(format!("aplomb-resume-{}-locked", std::process::id()));
        let first = open(&path).unwrap();
        assert!(open(&path).is_err());
        drop(first);
        assert!(open(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
