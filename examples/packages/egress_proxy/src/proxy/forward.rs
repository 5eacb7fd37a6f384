//! Carrying out what was allowed: the request as the plan has it, the credentials put in, the answer streamed back within
//! its limits. Both directions move at once, so that an answer is heard whenever it comes.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use leasehold::egress::{
    EchoError, EchoMask, EchoStream, OutgoingRequest, SignedBody,
    http1::{Field, Framing},
};
use tokio::{sync::Notify, time::sleep};

use super::{
    Proxy, Record, Refused,
    ask::Asked,
    beat::{Beat, For},
    body::{BodyReader, BodyWriter, H1Body, header_map, io_error},
    judge::judge,
    message::{self, Reply},
    origin::{self, Answering, Heard, Reached},
    pool::Connection,
    refused::{REQUEST_BODY, RESPONSE_TOO_LARGE, UPSTREAM_HEAD},
    relay::{Counts, Stop, Way, both},
    stream::{Reader, Writer},
    streams::Registered,
    tunnel::{self, Carried},
};

/// The most interim answers (1xx) before the real one.
const INTERIM: usize = 64;
/// How long an origin is waited for that was told of an expectation: those that know none say nothing (RFC 9110 section
/// 10.1.1).
const EXPECTED: Duration = Duration::from_secs(1);

/// Where an answer goes.
enum Answer {
    /// A connection of HTTP/1 on which nothing was said yet.
    H1(Writer),
    /// A stream of HTTP/2 on which nothing was said yet.
    H2(SendResponse<Bytes>),
    /// The head was said.
    Begun(BodyWriter),
    /// There is nowhere any more.
    Nowhere,
}

/// What becomes of a client's connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It takes the next request.
    Stays,
    /// It ends in order.
    Parts,
    /// It ends in the middle of an answer, which shows that it is not whole.
    Closes,
    /// It ends in the middle of an answer that only a reset shows not to be whole.
    Reset,
}

/// The client's side of an exchange.
pub struct Client {
    body: BodyReader,
    out: Out,
}

/// What a client hears.
struct Out {
    answer: Answer,
    minor: u8,
    /// Whether the connection is good for another request, as far as is known.
    stays: bool,
    /// Whether the answer is whole.
    whole: bool,
}

impl Client {
    /// Of a connection of HTTP/1.`minor`.
    pub const fn h1(body: BodyReader, writer: Writer, minor: u8, stays: bool) -> Self {
        Self { body, out: Out { answer: Answer::H1(writer), minor, stays, whole: false } }
    }

    /// Of a stream of HTTP/2.
    pub const fn h2(body: BodyReader, respond: SendResponse<Bytes>) -> Self {
        Self { body, out: Out { answer: Answer::H2(respond), minor: 1, stays: true, whole: false } }
    }

    /// The connection of HTTP/1, and how it goes on.
    pub fn into_h1(self) -> Option<(Reader, Writer, After)> {
        let over = self.body.is_over();
        let out = self.out;
        let unframed =
            matches!(&out.answer, Answer::Begun(BodyWriter::H1 { framing: Framing::UntilClose, .. }));
        let writer = match out.answer {
            Answer::H1(writer) => writer,
            Answer::Begun(body) => body.into_writer()?,
            Answer::H2(_) | Answer::Nowhere => return None,
        };
        let reader = self.body.into_reader()?;
        let after = match (out.whole, unframed) {
            (true, _) if out.stays && over => After::Stays,
            (true, _) => After::Parts,
            // The orderly end would look like the end of the body.
            (false, true) => After::Reset,
            (false, false) => After::Closes,
        };
        Some((reader, writer, after))
    }

    /// Whether bytes came behind a head that has no body.
    pub fn has_early_bytes(&self) -> bool {
        match &self.body {
            BodyReader::H1(body) => body.has_more(),
            BodyReader::Held(..) | BodyReader::H2 { .. } | BodyReader::None => false,
        }
    }

    /// Waits until the client has left.
    pub async fn gone(&mut self) {
        self.body.gone().await;
    }

    /// What the client sends.
    pub const fn body(&mut self) -> &mut BodyReader {
        &mut self.body
    }

    /// Both directions, once the head of the answer was said.
    pub fn both(&mut self) -> (&mut BodyReader, &mut BodyWriter) {
        match &mut self.out.answer {
            Answer::Begun(writer) => (&mut self.body, writer),
            _ => unreachable!("bytes are carried after the head was said"),
        }
    }

    const fn has_begun(&self) -> bool {
        matches!(self.out.answer, Answer::Begun(_) | Answer::Nowhere)
    }

    /// From here on the connection belongs to another protocol.
    fn switch(&mut self, writer: Writer) {
        self.out.stays = false;
        self.out.answer = Answer::Begun(BodyWriter::H1 { writer, framing: Framing::UntilClose });
        let body = std::mem::replace(&mut self.body, BodyReader::none());
        if let Some(reader) = body.into_reader() {
            self.body = BodyReader::H1(H1Body::new(reader, Framing::UntilClose));
        }
    }

    /// Says that the tunnel is open.
    pub async fn open_tunnel(&mut self, proxy: &Proxy) -> io::Result<()> {
        match std::mem::replace(&mut self.out.answer, Answer::Nowhere) {
            Answer::H1(mut writer) => {
                let head = format!("HTTP/1.1 200 Open\r\nvia: 1.1 {}\r\n\r\n", proxy.setup.name);
                writer.queue(head.as_bytes());
                writer.flush().await?;
                self.switch(writer);
            }
            Answer::H2(mut respond) => {
                let stream = respond.send_response(http::Response::new(()), false).map_err(io_error)?;
                self.out.answer = Answer::Begun(BodyWriter::H2 { stream, ended: false });
            }
            other => self.out.answer = other,
        }
        Ok(())
    }

    /// Says something in a tunnel.
    pub async fn say(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let Answer::Begun(body) = &mut self.out.answer else { return Ok(()) };
        body.data(bytes.into()).await?;
        body.finish().await
    }

    /// Answers with a refusal, where nothing was said yet; else what was said cannot look whole.
    async fn refuse(&mut self, refused: &Refused, head_only: bool) {
        match &mut self.out.answer {
            Answer::H1(writer) => {
                self.out.stays &= self.body.is_over();
                writer.queue(&refused.answer(self.out.stays, head_only));
                self.out.whole = writer.flush().await.is_ok();
            }
            Answer::H2(respond) => refuse_h2(respond, refused),
            Answer::Begun(body) => body.abort(),
            Answer::Nowhere => {}
        }
    }
}

impl Out {
    /// Passes an interim answer on.
    async fn interim(&mut self, status: u16, reason: &str, fields: &[Field]) -> io::Result<()> {
        match &mut self.answer {
            Answer::H1(writer) if self.minor > 0 => {
                writer.queue(&message::interim(status, reason, fields));
                writer.flush().await
            }
            Answer::H2(respond) => {
                let mut interim = http::Response::new(());
                if let Ok(status) = http::StatusCode::from_u16(status) {
                    *interim.status_mut() = status;
                    *interim.headers_mut() = header_map(fields);
                    respond.send_informational(interim).map_err(io_error)?;
                }
                Ok(())
            }
            // HTTP/1.0 knows no interim answers.
            _ => Ok(()),
        }
    }

    /// Says the head of the real answer; where it goes from there.
    async fn head(
        &mut self,
        proxy: &Proxy,
        method: &str,
        reply: &Reply,
        asked_all: bool,
    ) -> io::Result<&mut BodyWriter> {
        match std::mem::replace(&mut self.answer, Answer::Nowhere) {
            Answer::H1(mut writer) => {
                let framing = reply.framing_for(self.minor);
                // What the client still sends is not read to its end, so nothing can follow it.
                self.stays &= framing != Framing::UntilClose && asked_all;
                writer.queue(&reply.write_h1(proxy, method, framing, self.stays));
                self.answer = Answer::Begun(BodyWriter::H1 { writer, framing });
            }
            Answer::H2(mut respond) => {
                let ended = reply.framing == Framing::Length(0);
                let head = reply.write_h2(proxy, method);
                let stream = respond.send_response(head, ended).map_err(io_error)?;
                self.answer = Answer::Begun(BodyWriter::H2 { stream, ended });
            }
            other => self.answer = other,
        }
        match &mut self.answer {
            Answer::Begun(body) => Ok(body),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A refusal in HTTP/2.
pub fn refuse_h2(respond: &mut SendResponse<Bytes>, refused: &Refused) {
    let body = refused.body();
    let mut response = http::Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(refused.status).unwrap_or(http::StatusCode::FORBIDDEN);
    let fields = refused.fields().into_iter();
    let mut fields: Vec<Field> = fields.map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    fields.push(("content-length".into(), body.len().to_string().into_bytes()));
    *response.headers_mut() = header_map(&fields);
    // A client that does not want to hear it misses it.
    if let Ok(mut stream) = respond.send_response(response, false)
        && stream.send_data(body.into(), true).is_err()
    {
        stream.send_reset(Reason::CANCEL);
    }
}

/// Judges what `client` asks for, carries it out, and says what came of it.
pub async fn carry_out(proxy: &Proxy, asked: &Asked, mut client: Client) -> Client {
    let head_only = asked.method == "HEAD";
    let plan = match judge(proxy, asked).await {
        Ok(plan) => plan,
        Err(refused) => {
            client.refuse(&refused, head_only).await;
            return client;
        }
    };
    let underway = match proxy.admission.begin(&plan) {
        Ok(underway) => underway,
        Err(refused) => {
            let peer = asked.bearer.worker.as_str().to_owned();
            proxy.tell(Record::Unjudged { peer, target: asked.shown(), refused: refused.clone() });
            client.refuse(&refused, head_only).await;
            return client;
        }
    };
    let stream = proxy.streams.register(&asked.bearer, &plan);
    let (beat, counts) = (Beat::new(), Counts::default());
    let carried = Carried { proxy, plan: &plan, underway: &underway, counts: &counts, beat: &beat };
    let outcome = {
        let work = async {
            match plan.is_tunnel() {
                true => tunnel::carry(&carried, &stream, &mut client).await,
                false => exchange(&carried, asked, &stream, &mut client).await,
            }
        };
        tokio::select! {
            biased;
            why = stream.cut().wait() => Err(why),
            done = work => done,
            why = beat.out(&proxy.setup.times) => Err(why),
        }
    };
    let (bearer, target, moved) = (asked.bearer.clone(), asked.shown(), counts.moved());
    match outcome {
        Ok(()) => {
            client.out.whole = true;
            proxy.tell(Record::Moved { bearer, target, moved });
        }
        Err(refused) => {
            proxy.tell(Record::Failed { bearer, target, refused: refused.clone(), moved });
            client.refuse(&refused, head_only).await;
        }
    }
    client
}

/// One request and its answer.
async fn exchange(
    carried: &Carried<'_>,
    asked: &Asked,
    stream: &Registered<'_>,
    client: &mut Client,
) -> Result<(), Refused> {
    let Carried { proxy, plan, .. } = *carried;
    let limit = plan.limits().max_request_bytes.unwrap_or(proxy.setup.max_body);
    if matches!(asked.framing, Framing::Length(length) if length > limit) {
        return Err(too_large(limit));
    }
    let held = hold_signed(carried, asked, client, limit).await?;
    let asked = held.as_ref().map_or(asked, |(asked, _)| asked);
    let body = match &held {
        Some((_, bytes)) => SignedBody::Whole(bytes),
        None if asked.framing == Framing::Length(0) => SignedBody::Whole(&[]),
        None => SignedBody::Streamed,
    };
    let outgoing = message::outgoing(proxy, asked, plan, body)?;
    if asked.websocket && outgoing.echo.is_some() {
        return Err(Refused::coded(403, &EchoError::Switched));
    }
    // A WebSocket is of HTTP/1.1, and so is a question about the server as a whole here.
    let h2 = !asked.websocket && !asked.is_about_the_server();
    // RFC 9110 section 9.2.2: only what may be done twice is done again by itself, and only where nothing was answered.
    let repeatable = matches!(asked.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
        && asked.framing == Framing::Length(0);
    let mut fresh = false;
    loop {
        let reached = {
            let dialled = origin::reach(proxy, plan, stream, h2, fresh);
            if client.body.is_over() {
                tokio::select! {
                    reached = dialled => reached?,
                    () = client.body.gone() => {
                        return Err(Refused::gone("the client left while the origin was dialled"));
                    }
                }
            } else {
                dialled.await?
            }
        };
        let (used, key) = (!reached.fresh, reached.key.clone());
        match once(carried, asked, &outgoing, reached, client, limit).await {
            // A connection that waited may have been closed by the origin just now.
            Err((refused, true)) if used && repeatable && !client.has_begun() => {
                let _ = refused;
                proxy.pool.forget(&key);
                fresh = true;
            }
            Err((refused, _)) => return Err(refused),
            Ok(()) => return Ok(()),
        }
    }
}

/// Reads the body that a signature covers, and says what is asked with it. `None` where nothing has to be held.
async fn hold_signed(
    carried: &Carried<'_>,
    asked: &Asked,
    client: &mut Client,
    limit: u64,
) -> Result<Option<(Asked, Bytes)>, Refused> {
    let Carried { proxy, plan, beat, .. } = *carried;
    if !plan.signs_body() || client.body.is_over() {
        return Ok(None);
    }
    let most = limit.min(proxy.setup.max_signed_body);
    if matches!(asked.framing, Framing::Length(length) if length > most) {
        return Err(too_large(most));
    }
    beat.moved(For::Client);
    if asked.waits && !client.body.is_ready() {
        client.out.interim(100, "Continue", &[]).await.map_err(Refused::gone)?;
    }
    let held = client.body.hold(most).await.map_err(|error| Refused::request_body(&error))?;
    let held = held.ok_or_else(|| too_large(most))?;
    beat.moved(For::Connection);
    let framing = Framing::Length(held.len() as u64);
    Ok(Some((Asked { framing, waits: false, ..asked.clone() }, held)))
}

fn too_large(limit: u64) -> Refused {
    Refused::new(413, REQUEST_BODY, format!("the body is over {limit} bytes"))
}

/// What an answer ends in.
enum Answered {
    /// It is whole. With it, of HTTP/1, the connection where it can be used again.
    Whole(Option<Reader>),
    /// The origin speaks another protocol from here on.
    Switched(BodyReader),
}

/// One attempt. With a refusal comes whether the origin had said nothing.
async fn once(
    carried: &Carried<'_>,
    asked: &Asked,
    outgoing: &OutgoingRequest,
    reached: Reached,
    client: &mut Client,
    limit: u64,
) -> Result<(), (Refused, bool)> {
    let Carried { proxy, plan, underway, counts, beat } = *carried;
    let unheard = |refused| (refused, true);
    let heard = |refused| (refused, false);
    let Reached { connection, peer, key, .. } = reached;
    let by_h1 = matches!(connection, Connection::H1(..));
    let told = origin::tell(proxy, asked, plan, outgoing, connection).await.map_err(unheard)?;
    let up = Way { limit, count: &counts.sent, underway, up: true, beat, waits: [For::Client, For::Origin] };
    up.pass(told.bytes).map_err(|stop| heard(upload(stop, limit)))?;
    let mut to = told.body;
    beat.moved(For::Origin);
    let go = Notify::new();
    let Client { body, out } = client;
    let has_body = !body.is_over();
    let asked_all = AtomicBool::new(!has_body);
    let outcome = {
        let sending = async {
            if !has_body {
                // Nothing more is said to the origin; whether the client is still there is looked at meanwhile.
                return to.end(&[]).await.map_err(Stop::Write);
            }
            to.flush().await.map_err(Stop::Write)?;
            if asked.waits && !body.is_ready() {
                go.notified().await;
            }
            up.carry(body, &mut to, |piece| piece).await?;
            asked_all.store(true, Ordering::Relaxed);
            to.end(&[]).await.map_err(Stop::Write)?;
            beat.moved(For::Origin);
            Ok(())
        };
        let answering = respond(carried, asked, outgoing.echo.as_ref(), told.answer, out, &asked_all, &go);
        let (mut sending, mut answering) = (pin!(sending), pin!(answering));
        let mut sent = None;
        loop {
            tokio::select! {
                biased;
                done = &mut sending, if sent.is_none() => match done {
                    Ok(()) => sent = Some(true),
                    // An origin that does not read the body may have answered already.
                    Err(Stop::Write(_)) => sent = Some(false),
                    Err(stop) => break Err(heard(upload(stop, limit))),
                },
                done = &mut answering => break done.map(|answered| (answered, sent == Some(true))),
            }
        }
    };
    client.out.stays &= client.body.is_over();
    match outcome? {
        (Answered::Whole(Some(reader)), true) if by_h1 => {
            if let Some(writer) = to.into_writer() {
                origin::give_back(proxy, key, peer, reader, writer);
            }
            Ok(())
        }
        (Answered::Whole(_), _) => Ok(()),
        (Answered::Switched(mut from), _) => {
            if let Answer::Begun(body) = std::mem::replace(&mut client.out.answer, Answer::Nowhere)
                && let Some(writer) = body.into_writer()
            {
                client.switch(writer);
            }
            let BodyWriter::H1 { writer, .. } = to else { return Ok(()) };
            let mut to = BodyWriter::H1 { writer, framing: Framing::UntilClose };
            let ways = tunnel::ways(carried, For::Tunnel);
            beat.moved(For::Tunnel);
            let carried = both([&ways[0], &ways[1]], client.both(), (&mut from, &mut to)).await;
            carried.map_err(|stop| heard(tunnel::stopped(stop, "the connection")))
        }
    }
}

/// Why the body of a request was not sent on.
fn upload(stop: Stop, limit: u64) -> Refused {
    match stop {
        Stop::Read(error) => Refused::request_body(&error),
        Stop::Write(error) => Refused::upstream(UPSTREAM_HEAD, &error),
        Stop::TooLarge => too_large(limit),
        Stop::Budget(refused) => refused,
    }
}

/// Hears the origin and passes on what it says.
async fn respond(
    carried: &Carried<'_>,
    asked: &Asked,
    mask: Option<&EchoMask>,
    mut answer: Answering,
    client: &mut Out,
    asked_all: &AtomicBool,
    go: &Notify,
) -> Result<Answered, (Refused, bool)> {
    let Carried { proxy, plan, underway, counts, beat } = *carried;
    let limit = plan.limits().max_response_bytes.unwrap_or(proxy.setup.max_body);
    let too_large = || Refused::new(502, RESPONSE_TOO_LARGE, format!("the answer is over {limit} bytes"));
    let down =
        Way { limit, count: &counts.received, underway, up: false, beat, waits: [For::Either, For::Either] };
    let download = |stop| match stop {
        Stop::Read(error) => Refused::upstream_body(&error),
        Stop::Write(error) => Refused::gone(error),
        Stop::TooLarge => too_large(),
        Stop::Budget(refused) => refused,
    };
    let mut expects = asked.waits && !asked_all.load(Ordering::Relaxed);
    let mut silent = true;
    let gone = |error: io::Error| (Refused::gone(error), false);
    for _ in 0..INTERIM {
        let (heard, next) = {
            let mut next = pin!(answer.next(plan.method()));
            loop {
                tokio::select! {
                    heard = &mut next => break heard.map_err(|refused| (refused, silent))?,
                    // An origin that knows no expectations: the client may go on.
                    () = sleep(EXPECTED), if expects => {
                        expects = false;
                        client.interim(100, "Continue", &[]).await.map_err(gone)?;
                        go.notify_one();
                    }
                }
            }
        };
        silent = false;
        match (heard, next) {
            (Heard::Interim { status, mut reason, mut fields }, Some(next)) => {
                if let Some(mask) = mask {
                    message::mask_fields(mask, &mut fields);
                    reason = message::masked_reason(mask, &reason);
                }
                answer = next;
                beat.moves();
                down.pass(message::size(&fields) + 17).map_err(|stop| (download(stop), false))?;
                if status != 100 {
                    client.interim(status, &reason, &fields).await.map_err(gone)?;
                } else if expects {
                    expects = false;
                    client.interim(100, "Continue", &[]).await.map_err(gone)?;
                    go.notify_one();
                }
            }
            (Heard::Switched { fields, body }, _) if asked.websocket => {
                let upgrades = fields
                    .iter()
                    .any(|(name, value)| name == "upgrade" && value.eq_ignore_ascii_case(b"websocket"));
                if !upgrades {
                    return Err((
                        Refused::new(502, UPSTREAM_HEAD, "the origin switches to another protocol"),
                        false,
                    ));
                }
                down.pass(message::size(&fields) + 34).map_err(|stop| (download(stop), false))?;
                client.switched(&fields).await.map_err(gone)?;
                return Ok(Answered::Switched(body));
            }
            (Heard::Switched { .. }, _) => {
                return Err((
                    Refused::new(502, UPSTREAM_HEAD, "the origin switches to another protocol"),
                    false,
                ));
            }
            (Heard::Real(mut reply, mut body), _) => {
                if reply.status == 407 {
                    // Said on, it would be this proxy's own word.
                    let message = "the origin asks for the identity of a proxy's client";
                    return Err((Refused::new(502, UPSTREAM_HEAD, message), false));
                }
                if matches!(reply.framing, Framing::Length(length) if length > limit) {
                    return Err((too_large(), false));
                }
                if let Some(mask) = mask {
                    reply.mask(mask).map_err(|error| (Refused::coded(502, &error), false))?;
                }
                let mut masked = mask.map(EchoMask::stream);
                down.pass(reply.bytes).map_err(|stop| (download(stop), false))?;
                beat.moved(For::Either);
                let to = client
                    .head(proxy, &asked.method, &reply, asked_all.load(Ordering::Relaxed))
                    .await
                    .map_err(gone)?;
                if let Err(stop) = down.carry(&mut body, to, |piece| through(masked.as_mut(), piece)).await {
                    // What was passed on before is heard, and the client sees that it is not all.
                    let _ = to.flush().await;
                    return Err((download(stop), false));
                }
                let trailers = body.trailers().await;
                let mut trailers = trailers.map_err(|error| (Refused::upstream_body(&error), false))?;
                if let (Some(mask), Some(masked)) = (mask, masked) {
                    let mut held = Vec::new();
                    masked.finish(&mut held);
                    to.data(held.into()).await.map_err(gone)?;
                    message::mask_fields(mask, &mut trailers);
                }
                to.end(&trailers).await.map_err(gone)?;
                return Ok(Answered::Whole(body.into_reader().filter(|_| reply.stays)));
            }
            (Heard::Interim { .. }, None) => break,
        }
    }
    Err((Refused::new(502, UPSTREAM_HEAD, "the origin does not come to its answer"), false))
}

/// A piece of a body, through a mask where there is one.
fn through(masked: Option<&mut EchoStream<'_>>, piece: Bytes) -> Bytes {
    let Some(masked) = masked else { return piece };
    let mut out = Vec::new();
    masked.push(&piece, &mut out);
    out.into()
}

impl Out {
    /// Passes on that the origin speaks WebSocket from here on.
    async fn switched(&mut self, fields: &[Field]) -> io::Result<()> {
        let Answer::H1(writer) = &mut self.answer else { return Err(io::ErrorKind::Unsupported.into()) };
        let kept: Vec<Field> = fields
            .iter()
            .filter(|(name, _)| name.starts_with("sec-websocket-") || name == "set-cookie")
            .cloned()
            .collect();
        let mut head =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n".to_vec();
        for (name, value) in &kept {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        writer.queue(&head);
        writer.flush().await?;
        let Answer::H1(writer) = std::mem::replace(&mut self.answer, Answer::Nowhere) else { return Ok(()) };
        self.answer = Answer::Begun(BodyWriter::H1 { writer, framing: Framing::UntilClose });
        Ok(())
    }
}
