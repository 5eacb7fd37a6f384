//! A client's connection of HTTP/1: one request after the other, each judged anew.

use std::io;

use leasehold::{
    digest::Sha256Digest,
    egress::http1::{Framing, HeadLimits, HeadReader, HttpError, RequestHead},
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Proxy, Record, Refused,
    admission::Seat,
    ask::{Form, Said, Version, redacted, worker},
    body::{BodyReader, H1Body},
    forward::{After, Client, carry_out},
    refused::HEAD_TOO_SLOW,
    stream::{Reader, Stream, Writer, cut, part, split},
};

/// Why there is no next head.
enum NoHead {
    /// The client has left, or said nothing for too long between two requests.
    Over,
    /// It began one and did not end it in time.
    TooSlow,
    /// What came is none.
    Malformed(HttpError),
}

/// Serves one connection to its end.
pub async fn serve(proxy: &Proxy, stream: Stream, address: &str, mut seat: Seat) {
    let certificate = stream.certificate();
    let worker = worker(proxy, certificate);
    let peer = worker.as_ref().map_or(address, |worker| worker.as_str()).to_owned();
    let (mut reader, mut writer) = split(stream);
    let mut drain = proxy.drain.subscribe();
    let mut first = true;
    loop {
        let idle = if first { proxy.setup.times.head } else { proxy.setup.times.keep_alive };
        // An idle connection waits here, and holds no buffer.
        if reader.buffer.is_empty() {
            let waited = tokio::select! {
                waited = timeout(idle, reader.fill_head()) => waited,
                // Nothing is under way on it.
                _ = drain.wait_for(|draining| *draining), if !first => return,
            };
            if !matches!(waited, Ok(Ok(1..))) {
                return;
            }
        }
        first = false;
        // The rest is in a box: it is there only while something is under way.
        let exchange = Box::pin(request(proxy, reader, writer, &peer, certificate, &mut seat));
        match exchange.await {
            Some(both) => (reader, writer) = both,
            None => return,
        }
    }
}

/// One request. `None`: the connection is over.
async fn request(
    proxy: &Proxy,
    mut reader: Reader,
    mut writer: Writer,
    peer: &str,
    certificate: Option<Sha256Digest>,
    seat: &mut Seat,
) -> Option<(Reader, Writer)> {
    let unjudged = |target: &str, refused: &Refused| {
        let (peer, target) = (peer.to_owned(), redacted(target));
        proxy.tell(Record::Unjudged { peer, target, refused: refused.clone() });
    };
    let head = match head(&mut reader, proxy).await {
        Ok(head) => head,
        Err(why) => {
            let refused = match why {
                NoHead::Over => return None,
                NoHead::TooSlow => Refused::new(408, HEAD_TOO_SLOW, "the head did not come in time"),
                NoHead::Malformed(error) => Refused::malformed(error),
            };
            unjudged("", &refused);
            writer.queue(&refused.answer(false, false));
            part(reader, writer).await;
            return None;
        }
    };
    let (target, head_only) = (head.target.clone(), head.method == "HEAD");
    let said = match Said::read(head) {
        Ok(said) => said,
        // Where the message ends is not known, so nothing behind it is read.
        Err(refused) => {
            unjudged(&target, &refused);
            writer.queue(&refused.answer(false, head_only));
            part(reader, writer).await;
            return None;
        }
    };
    // What stands behind a CONNECT is for the tunnel, and never the next request.
    let early = matches!(said.form, Some(Form::Tunnel(_))) && !reader.buffer.is_empty();
    let stays = said.stays() && !early && !proxy.is_draining();
    let framing = said.framing;
    let minor = match said.version {
        Version::H1(minor) => minor,
        Version::H2 => 1,
    };
    let asked = match said.admit(proxy, certificate) {
        Ok(asked) => asked,
        Err(refused) => {
            unjudged(&target, &refused);
            // A client that was asked who it is says it on the same connection, where it has sent no body.
            let stays = stays && framing == Framing::Length(0);
            writer.queue(&refused.answer(stays, head_only));
            return finish(reader, writer, stays).await;
        }
    };
    seat.proven();
    let body = BodyReader::H1(H1Body::new(reader, framing));
    let client = Client::h1(body, writer, minor, stays);
    let (reader, writer, after) = carry_out(proxy, &asked, client).await.into_h1()?;
    match after {
        After::Stays => finish(reader, writer, true).await,
        After::Parts => finish(reader, writer, false).await,
        After::Closes => None,
        After::Reset => {
            cut(reader, writer);
            None
        }
    }
}

async fn finish(reader: Reader, mut writer: Writer, stays: bool) -> Option<(Reader, Writer)> {
    if !stays {
        part(reader, writer).await;
        return None;
    }
    writer.flush().await.ok()?;
    Some((reader, writer))
}

async fn head(reader: &mut Reader, proxy: &Proxy) -> Result<RequestHead, NoHead> {
    let deadline = Instant::now() + proxy.setup.times.head;
    let mut head = HeadReader::new(HeadLimits::default());
    loop {
        let buffer = reader.buffer.split();
        if head.push(&buffer).map_err(NoHead::Malformed)? {
            break;
        }
        match timeout_at(deadline, reader.fill_head()).await {
            Err(_) => return Err(NoHead::TooSlow),
            Ok(Ok(0)) if head.is_empty() => return Err(NoHead::Over),
            Ok(Ok(0)) => return Err(NoHead::Malformed(HttpError::Malformed)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(NoHead::Malformed(HttpError::Malformed));
            }
            Ok(Err(_)) => return Err(NoHead::Over),
        }
    }
    let (head, rest) = head.request().map_err(NoHead::Malformed)?;
    reader.buffer.extend_from_slice(&rest);
    Ok(head)
}
