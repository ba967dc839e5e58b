//! Replies byte by byte, and a server of this process.

use std::net::TcpListener;

use proptest::prelude::*;
use tactus_drivers_api::wire::MonotonicClock;
use tactus_types::Time;

use super::*;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";

/// How servers differ.
#[derive(Debug, Clone, Copy)]
struct Habits {
    chunked: bool,
    lengths: bool,
    dashes: bool,
}

fn reply(images: &[Vec<u8>], habits: Habits) -> Vec<u8> {
    let boundary = if habits.dashes {
        "\"--frame\""
    } else {
        "frame"
    };
    let mut head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: multipart/x-mixed-replace;boundary={boundary}\r\n"
    );
    if habits.chunked {
        head += "Transfer-Encoding: chunked\r\n";
    }
    let mut body = b"\r\n--frame\r\n".to_vec();
    for image in images {
        body.extend(b"Content-Type: image/jpeg\r\n");
        if habits.lengths {
            body.extend(format!("Content-Length: {}\r\n", image.len()).bytes());
        }
        body.extend(b"\r\n");
        body.extend(image);
        body.extend(b"\r\n--frame\r\n");
    }
    let mut reply = format!("{head}\r\n").into_bytes();
    match habits.chunked {
        false => reply.extend(body),
        true => {
            for chunk in body.chunks(7) {
                reply.extend(format!("{:x}\r\n", chunk.len()).bytes());
                reply.extend(chunk);
                reply.extend(b"\r\n");
            }
        }
    }
    reply
}

/// Images of `bytes`, which come in pieces that long, each a millisecond after the last.
fn images(bytes: &[u8], piece: usize) -> Result<Vec<(Vec<u8>, Time)>, NoStream> {
    let mut reply = Reply::new();
    let mut all = Vec::new();
    for (k, piece) in bytes.chunks(piece).enumerate() {
        reply.push(piece, Time::from_millis(k as u64))?;
        while let Some(image) = reply.image()? {
            all.push(image);
        }
    }
    Ok(all)
}

proptest! {
    #[test]
    fn images_come_out_as_they_went_in_however_they_are_cut(
        sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..5),
        piece in 1usize..400,
        chunked in any::<bool>(),
        lengths in any::<bool>(),
        dashes in any::<bool>(),
    ) {
        // Without a length an image may not hold the boundary, nor end as the line before it does.
        let sent: Vec<Vec<u8>> = sent.into_iter().map(|mut image| { image.push(0xd9); image }).collect();
        let bytes = reply(&sent, Habits { chunked, lengths, dashes });
        let came = images(&bytes, piece).expect("a stream");
        let came: Vec<Vec<u8>> = came.into_iter().map(|(image, _)| image).collect();
        prop_assert_eq!(came, sent);
    }

    #[test]
    fn hostile_replies_are_refused_and_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1usize..50,
        chunked in any::<bool>(),
    ) {
        let _ = images(&bytes, piece);
        let head = match chunked {
            true => HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            false => HEAD.to_owned(),
        };
        let _ = images(&[head.as_bytes(), &bytes].concat(), piece);
    }
}

#[test]
fn an_image_is_of_the_time_that_its_first_byte_came() {
    let mut reply = Reply::new();
    let mut push = |bytes: &[u8], millis| {
        reply
            .push(bytes, Time::from_millis(millis))
            .expect("a stream");
        reply.image().expect("a stream")
    };
    // The head of an image may come with the one before: that says nothing of when it was taken.
    assert_eq!(
        push(
            format!("{HEAD}--frame\r\nContent-Length: 3\r\n\r\n").as_bytes(),
            10
        ),
        None
    );
    assert_eq!(push(b"a", 50), None);
    assert_eq!(
        push(b"bc\r\n--frame\r\nContent-Length: 2\r\n\r\n", 55),
        Some((b"abc".to_vec(), Time::from_millis(50)))
    );
    assert_eq!(
        push(b"de", 80),
        Some((b"de".to_vec(), Time::from_millis(80)))
    );
}

#[test]
fn what_is_no_stream_is_said() {
    for (bytes, wanted, wrong) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "the reply 200, got HTTP/1.1 404 Not Found",
            false,
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            "user and password go into the URL",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
            "got content type `text/html`",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            "got content type `nothing`",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\n\r\n",
            "a boundary",
            true,
        ),
        ("RTSP/1.0 200 OK\r\n\r\n", "the reply 200", false),
        (
            &format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)),
            "16 KiB",
            true,
        ),
        (
            &format!("{HEAD}--frame\r\nContent-Length: 99999999\r\n\r\n"),
            "16 MiB",
            true,
        ),
        (
            &HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            "a chunk's length, got zz",
            false,
        ),
        (
            &HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
            "the end of the stream",
            false,
        ),
    ] {
        let error = images(bytes.as_bytes(), 1000).expect_err(bytes);
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.wrong, wrong, "{error}");
    }
}

#[test]
fn a_server_is_asked_and_its_end_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::Builder::new()
        .name("server".into())
        .spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let n = stream.read(&mut request).expect("a request");
            let habits = Habits {
                chunked: true,
                lengths: true,
                dashes: false,
            };
            stream
                .write_all(&reply(&[vec![1; 100_000], vec![2; 100_000]], habits))
                .expect("sent");
            String::from_utf8_lossy(&request[..n]).into_owned()
        })
        .expect("a thread");
    let url = Url::parse(&format!("http://{address}/stream")).expect("legal");
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let mut source = HttpSource::connect(&url, clock).expect("connected");
    let mut came = Vec::new();
    let ended = loop {
        match source.next(Duration::from_millis(100)) {
            Ok(Some(shot)) => came.push(shot),
            Ok(None) => {}
            Err(e) => break e,
        }
    };
    let passed_over: u32 = came.iter().map(|shot| shot.passed_over).sum();
    assert_eq!(came.len() + passed_over as usize, 2);
    let last = came.last().expect("one");
    assert_eq!(
        (last.data.len(), last.data[0], last.clock),
        (100_000, 2, CaptureClock::Arrival)
    );
    assert!(
        ended.to_string().contains("closed the stream") && !ended.is_wrong(),
        "{ended}"
    );
    assert!(
        server
            .join()
            .expect("ended")
            .starts_with("GET /stream HTTP/1.1\r\n")
    );
    let refused = HttpSource::connect(&url, Arc::new(MonotonicClock::new().expect("a clock")))
        .err()
        .expect("nobody");
    assert!(
        !refused.is_wrong()
            && refused
                .to_string()
                .starts_with(&format!("http://{address}/stream: ")),
        "{refused}"
    );
}

#[test]
fn a_reader_that_comes_late_gets_the_newest_image_and_says_how_many_it_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = Url::parse(&format!("http://{address}/stream")).expect("legal");
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let mut source = HttpSource::connect(&url, clock).expect("connected");
    let (mut server, _) = listener.accept().expect("a client");
    let habits = Habits {
        chunked: false,
        lengths: true,
        dashes: false,
    };
    let all: Vec<Vec<u8>> = (0..7).map(|k| vec![k; 1000]).collect();
    let bytes = reply(&all, habits);
    // Five images wait before anyone reads, and the beginning of the sixth.
    let begun = bytes.windows(10).position(|w| w == [5; 10]).expect("there") + 10;
    server.write_all(&bytes[..begun]).expect("sent");
    let mut next =
        || (0..100).find_map(|_| source.next(Duration::from_millis(100)).expect("a stream"));
    let first = next().expect("an image");
    assert_eq!((first.data[0], first.passed_over), (4, 4));
    let end = bytes.windows(10).position(|w| w == [6; 10]).expect("there");
    server.write_all(&bytes[begun..end]).expect("sent");
    let second = next().expect("an image");
    assert_eq!((second.data[0], second.passed_over), (5, 0));
    assert!(first.captured_at <= second.captured_at);
    server.write_all(&bytes[end..]).expect("sent");
    let third = next().expect("an image");
    assert_eq!((third.data[0], third.passed_over), (6, 0));
}
