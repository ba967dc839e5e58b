//! What an operator asks of an arm in service: to recover from a reflex. A controller serves one client, so `tactus device
//! recover` cannot ask it beside the process that serves the arm; it asks that process, over a socket of this machine that
//! only the same user, and root, may use.
//!
//! One line is asked, `recover`, and one is answered: `done: ...` or `refused: ...`. Decides nothing: the link does.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::FrankaError;

/// Folders for the socket, the better one first.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];
/// How long a question may take to be asked ..
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// .. and to be answered: a recovery moves joints apart that press against each other.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// Longest line.
const LINE_BYTES: u64 = 4096;
/// What is asked.
const RECOVER: &str = "recover";

/// A wish to recover; the answer is what was done, or why not.
#[derive(Debug)]
pub struct Recover {
    /// Who waits.
    pub answer: SyncSender<Result<String, String>>,
}

/// Listens to operators.
#[derive(Debug)]
pub struct Counter {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn file(folder: &str, key: &str) -> PathBuf {
    Path::new(folder).join(format!("tactus-{key}.operator"))
}

impl Counter {
    /// Listens for the arm called `key`, which this process owns, and hands on what is asked.
    ///
    /// # Errors
    /// [`FrankaError::Socket`], [`FrankaError::Thread`].
    pub fn open(key: &str, wishes: SyncSender<Recover>) -> Result<Self, FrankaError> {
        let mut opened = FOLDERS.iter().map(|folder| bind(&file(folder, key)));
        let error = |reason| FrankaError::Socket {
            path: file(FOLDERS[0], key).display().to_string(),
            reason,
        };
        let (path, listener) = match (opened.next(), opened.next()) {
            (Some(Ok(opened)), _) | (_, Some(Ok(opened))) => opened,
            (Some(Err(reason)), _) => return Err(error(reason)),
            _ => return Err(error(io::ErrorKind::NotFound.into())),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let listen = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream
                    && let Err(e) = serve(stream, &wishes)
                {
                    tracing::debug!("an operator's question came to nothing: {e}");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("franka-operator".into())
            .spawn(listen)
            .map_err(|reason| FrankaError::Thread {
                thread: "franka-operator",
                reason,
            })?;
        Ok(Self {
            path,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for somebody.
        let woken = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        if woken.is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `franka-operator` panicked");
        }
    }
}

/// One who died leaves a file behind; the lock on the arm says that nobody lives who uses it.
fn bind(path: &Path) -> io::Result<(PathBuf, UnixListener)> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((path.to_owned(), listener))
}

fn serve(stream: UnixStream, wishes: &SyncSender<Recover>) -> io::Result<()> {
    stream.set_read_timeout(Some(ASKED_WITHIN))?;
    let mut asked = String::new();
    BufReader::new((&stream).take(LINE_BYTES)).read_line(&mut asked)?;
    let answer = match asked.trim() {
        RECOVER => {
            let (answer, answered) = sync_channel(1);
            let gone = || Err("the arm is not served any more".to_owned());
            match wishes.send(Recover { answer }) {
                Ok(()) => answered
                    .recv_timeout(ANSWERED_WITHIN)
                    .unwrap_or_else(|_| gone()),
                Err(_) => gone(),
            }
        }
        other => Err(format!("`{}` is not understood", other.escape_debug())),
    };
    let (word, text) = match &answer {
        Ok(text) => ("done", text),
        Err(text) => ("refused", text),
    };
    writeln!(&stream, "{word}: {}", text.replace('\n', " "))
}

/// Asks the process that serves the arm called `key` to recover it. None: nobody does.
pub fn recover(key: &str) -> Option<Result<String, String>> {
    let found = FOLDERS.iter().find_map(|folder| {
        let stream = UnixStream::connect(file(folder, key));
        match stream {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Some(Err(
                "the process that serves the arm is another user's".to_owned(),
            )),
            stream => stream.ok().map(Ok),
        }
    })?;
    Some(found.and_then(|stream| ask(&stream).map_err(|e| format!("no answer: {e}"))?))
}

fn ask(stream: &UnixStream) -> io::Result<Result<String, String>> {
    stream.set_read_timeout(Some(ANSWERED_WITHIN + ASKED_WITHIN))?;
    let mut asking = stream;
    writeln!(asking, "{RECOVER}")?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES)).read_line(&mut line)?;
    match line.trim().split_once(": ") {
        Some(("done", text)) => Ok(Ok(text.to_owned())),
        Some((_, text)) => Ok(Err(text.to_owned())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn key(word: &str) -> String {
        format!("franka-test-{word}-{}", std::process::id())
    }

    #[test]
    fn what_is_asked_is_handed_on_and_the_answer_comes_back() {
        let key = key("asked");
        assert_eq!(recover(&key), None, "nobody serves it");
        let (wishes, wished) = sync_channel::<Recover>(4);
        let counter = Counter::open(&key, wishes).expect("listens");
        let answering = move || {
            for answer in [Ok("recovered".to_owned()), Err("a\nb".to_owned())] {
                let wish = wished.recv().expect("asked");
                wish.answer.send(answer).expect("heard");
            }
            // The link's end.
        };
        let link = std::thread::Builder::new()
            .spawn(answering)
            .expect("a thread");
        assert_eq!(recover(&key), Some(Ok("recovered".into())));
        assert_eq!(recover(&key), Some(Err("a b".into())));
        link.join().expect("ended");
        assert_eq!(
            recover(&key),
            Some(Err("the arm is not served any more".into()))
        );
        let mode = fs::metadata(&counter.path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = counter.path.clone();
        drop(counter);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_understood_or_never_asked_keeps_nobody_waiting() {
        let key = key("nonsense");
        let (wishes, _wished) = sync_channel::<Recover>(4);
        let counter = Counter::open(&key, wishes).expect("listens");
        let mut stream = UnixStream::connect(&counter.path).expect("there");
        stream.write_all(b"torque on\n").expect("asked");
        let mut line = String::new();
        stream.read_to_string(&mut line).expect("answered");
        assert_eq!(line, "refused: `torque on` is not understood\n");
        let silent = UnixStream::connect(&counter.path).expect("there");
        drop(silent);
        // One who died left this behind.
        let (wishes, _wished) = sync_channel::<Recover>(4);
        std::mem::forget(counter);
        drop(Counter::open(&key, wishes).expect("listens again"));
    }
}
