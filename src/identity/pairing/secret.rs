//! Codes and keys. They wipe themselves, show themselves to nobody by accident, and are never serialised.

use alloc::{string::String, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use super::{
    error::PairingError,
    method::PairingMethod,
    seed::EnrolmentSeed,
    transcript::{Label, tag},
};
use crate::{
    digest::{FieldHasher, Sha256Digest},
    entropy::Entropy,
    id::{FleetId, OrderId, SessionId},
    time::Now,
};

/// Bytes of the secret in a QR code: 128 bits, which cannot be guessed on-line or off-line.
pub(super) const QR_SECRET_BYTES: usize = 16;

/// Bytes of the secret in an enrolment code.
const ENROLMENT_SECRET_BYTES: usize = 32;

/// The longest text that is read as a QR code.
const MAX_QR_TEXT: usize = 512;

const QR_PREFIX: &str = "leasehold-pair-1";

const ENROLMENT_PREFIX: &str = "leasehold-enrol-1";

/// Key material of one session or one exchange.
pub(super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// No secret, in place of one that has done its work; the old one is wiped.
    pub(super) fn none() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    pub(super) fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the operator is shown once, to carry to the device. The desk keeps no text of it.
///
/// `Debug` shows the method only.
pub struct PairingCode(Zeroizing<String>, PairingMethod);

/// For values that hold a code: in constant time, for texts of one length.
impl PartialEq for PairingCode {
    fn eq(&self, other: &Self) -> bool {
        let differs = self.0.bytes().zip(other.0.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        self.1 == other.1 && self.0.len() == other.0.len() && differs == 0
    }
}

impl Eq for PairingCode {}

impl PairingCode {
    /// The text to show: the content of the QR code, the digits of the PIN, or nothing for a comparison.
    ///
    /// Whoever reads it can pair a device until it is used or expires; an operator still has to approve.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairingCode({}, ..)", self.1)
    }
}

/// The secret of a new session, and its text for the operator.
pub(super) fn draw(
    method: PairingMethod,
    pin_digits: u8,
    session: &SessionId,
    coordinator: &Sha256Digest,
    entropy: &mut dyn Entropy,
) -> Result<(Secret, PairingCode), PairingError> {
    let (secret, text) = match method {
        PairingMethod::Qr => {
            let mut secret = Zeroizing::new(alloc::vec![0; QR_SECRET_BYTES]);
            entropy.fill(&mut secret)?;
            let text = code_text(QR_PREFIX, session.as_str(), coordinator, &secret);
            (secret, text)
        }
        PairingMethod::Pin => {
            let pin = draw_pin(pin_digits, entropy)?;
            (Zeroizing::new(pin.as_bytes().to_vec()), pin)
        }
        PairingMethod::Compare => (Zeroizing::new(Vec::new()), Zeroizing::new(String::new())),
        // Its code follows from a seed.
        PairingMethod::Enrolment => return Err(PairingError::Method),
    };
    Ok((Secret(secret), PairingCode(text, method)))
}

fn code_text(prefix: &str, name: &str, coordinator: &Sha256Digest, secret: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_QR_TEXT));
    for part in [prefix, "/", name, "/"] {
        text.push_str(part);
    }
    push_hex(&mut text, coordinator.as_bytes());
    text.push('/');
    push_hex(&mut text, secret);
    text
}

/// The secret of the key `order` of `fleet`, under the host's seed. A name that is given out again, later, has another.
pub(super) fn enrolment_secret(
    seed: &EnrolmentSeed,
    fleet: &FleetId,
    order: &OrderId,
    at: Now,
) -> Result<Secret, PairingError> {
    let name = FieldHasher::new("pairing.enrolment.name.v1")
        .field(fleet.as_str().as_bytes())
        .field(order.as_str().as_bytes())
        .number(at.mono.0)
        .number(at.wall.0)
        .finish();
    let secret = tag(seed.bytes(), Label::Enrolment, &name, b"")?;
    Ok(Secret(Zeroizing::new(secret.to_vec())))
}

impl Secret {
    /// What a state keeps of the secret of an enrolment key, to know it again: it has 256 bits that nobody can guess.
    pub(super) fn check(&self) -> Sha256Digest {
        FieldHasher::new("pairing.enrolment.check.v1").field(&self.0).finish()
    }

    /// The text of an enrolment code.
    pub(super) fn enrolment_code(&self, order: &OrderId, coordinator: &Sha256Digest) -> PairingCode {
        PairingCode(
            code_text(ENROLMENT_PREFIX, order.as_str(), coordinator, &self.0),
            PairingMethod::Enrolment,
        )
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
}

/// Uniform digits; a PIN that people would guess first is drawn again.
fn draw_pin(digits: u8, entropy: &mut dyn Entropy) -> Result<Zeroizing<String>, PairingError> {
    // A sound source needs a second draw once in a hundred thousand PINs; one that never gives a good PIN is
    // not sound.
    for _ in 0..16 {
        let mut pin = Zeroizing::new(String::with_capacity(digits.into()));
        let mut byte = Zeroizing::new([0_u8]);
        let mut draws = 0_u16;
        while pin.len() < usize::from(digits) {
            entropy.fill(&mut *byte)?;
            let [drawn] = *byte;
            draws = draws.saturating_add(1);
            // 250 is the largest multiple of ten in a byte: without this, small digits would be likelier.
            if drawn < 250 {
                pin.push(char::from(b'0'.saturating_add(drawn % 10)));
            } else if draws > 1024 {
                return Err(PairingError::Entropy);
            }
        }
        if check_pin(&pin).is_ok() {
            return Ok(pin);
        }
    }
    Err(PairingError::Entropy)
}

/// Digits only, 6 to 10 of them, and not one of the runs and repeats that are guessed first.
fn check_pin(pin: &str) -> Result<(), PairingError> {
    let bytes = pin.as_bytes();
    let shape = (6..=10).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    let steps = |step: i16| {
        bytes.windows(2).all(|pair| match pair {
            [left, right] => i16::from(*right).saturating_sub(i16::from(*left)) == step,
            _ => false,
        })
    };
    if !shape || steps(0) || steps(1) || steps(-1) { Err(PairingError::BadCode) } else { Ok(()) }
}

/// What a device was given by its user: the session, the method, and the code.
///
/// `Debug` shows session and method only.
pub struct DeviceCode {
    pub(super) session: SessionId,
    pub(super) method: PairingMethod,
    pub(super) secret: Secret,
    /// The coordinator's certificate that a QR code names.
    pub(super) coordinator: Option<Sha256Digest>,
}

/// What people type in place of a code of lower-case letters, digits and marks: with spaces and line breaks, as it was
/// grouped or wrapped on its way, and in upper case. No bit of a code lies in either.
fn as_given_out(text: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    for letter in text.chars().filter(|letter| !letter.is_ascii_whitespace()) {
        plain.push(letter.to_ascii_lowercase());
    }
    plain
}

/// The random bytes in the name of an enrolled session: two devices of one key do not draw the same.
const ENROLMENT_DRAWN_BYTES: usize = 16;

/// Stands between the name of an enrolment key and what the device drew.
const ENROLMENT_MARK: char = ':';

/// The enrolment key that a session of a device names.
pub(super) fn order_of(session: &SessionId) -> Option<OrderId> {
    let (order, drawn) = session.as_str().rsplit_once(ENROLMENT_MARK)?;
    let is_drawn = drawn.len() == ENROLMENT_DRAWN_BYTES.saturating_mul(2)
        && drawn.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    OrderId::new(order).ok().filter(|_| is_drawn)
}

/// Name, coordinator and secret of a code in one line.
fn read_code<'a>(
    text: &'a str,
    prefix: &str,
    secret_bytes: usize,
) -> Result<(&'a str, Sha256Digest, Secret), PairingError> {
    let mut parts = text.split('/');
    let mut part = || parts.next().ok_or(PairingError::BadCode);
    let (found, name, coordinator, digits) = (part()?, part()?, part()?, part()?);
    let mut secret = Zeroizing::new(alloc::vec![0; secret_bytes]);
    if found != prefix || parts.next().is_some() {
        return Err(PairingError::BadCode);
    }
    hex::decode_to_slice(digits, &mut secret).map_err(|_| PairingError::BadCode)?;
    let coordinator = coordinator.parse().map_err(|_| PairingError::BadCode)?;
    Ok((name, coordinator, Secret::new(secret)))
}

impl DeviceCode {
    /// Reads the content of a QR code, also as people type it: white space and upper case are forgiven.
    ///
    /// # Errors
    /// [`PairingError::BadCode`] where it is not one that this version makes.
    pub fn from_qr(text: &str) -> Result<Self, PairingError> {
        if text.len() > MAX_QR_TEXT {
            return Err(PairingError::BadCode);
        }
        let text = as_given_out(text);
        let (session, coordinator, secret) = read_code(&text, QR_PREFIX, QR_SECRET_BYTES)?;
        let session = SessionId::new(session).map_err(|_| PairingError::BadCode)?;
        Ok(Self { session, method: PairingMethod::Qr, secret, coordinator: Some(coordinator) })
    }

    /// Reads the code of an enrolment key, for one device: the session that it pairs in is drawn here.
    ///
    /// # Errors
    /// [`PairingError::BadCode`] where it is not one that this version makes, [`PairingError::Entropy`].
    pub fn from_enrolment(text: &str, entropy: &mut dyn Entropy) -> Result<Self, PairingError> {
        if text.len() > MAX_QR_TEXT {
            return Err(PairingError::BadCode);
        }
        let text = as_given_out(text);
        let (order, coordinator, secret) = read_code(&text, ENROLMENT_PREFIX, ENROLMENT_SECRET_BYTES)?;
        let order = OrderId::new(order).map_err(|_| PairingError::BadCode)?;
        let mut drawn = [0; ENROLMENT_DRAWN_BYTES];
        entropy.fill(&mut drawn)?;
        let mut session = String::from(order.as_str());
        session.push(ENROLMENT_MARK);
        push_hex(&mut session, &drawn);
        let session = SessionId::new(&session).map_err(|_| PairingError::BadCode)?;
        Ok(Self { session, method: PairingMethod::Enrolment, secret, coordinator: Some(coordinator) })
    }

    /// A session as the user typed it: white space and upper case are forgiven.
    ///
    /// # Errors
    /// [`PairingError::BadCode`] where it is not the name of a session.
    pub fn session(text: &str) -> Result<SessionId, PairingError> {
        SessionId::new(&as_given_out(text)).map_err(|_| PairingError::BadCode)
    }

    /// A PIN as the user typed it, for the session that the operator named. White space is forgiven.
    ///
    /// # Errors
    /// [`PairingError::BadCode`] where it is not 6 to 10 ASCII digits, or one that is never given out.
    pub fn from_pin(session: SessionId, pin: &str) -> Result<Self, PairingError> {
        if pin.len() > MAX_QR_TEXT {
            return Err(PairingError::BadCode);
        }
        let pin = as_given_out(pin);
        check_pin(&pin)?;
        let secret = Secret::new(Zeroizing::new(pin.as_bytes().to_vec()));
        Ok(Self { session, method: PairingMethod::Pin, secret, coordinator: None })
    }

    /// No code: device and operator will compare six digits.
    pub fn compare(session: SessionId) -> Self {
        let secret = Secret::new(Zeroizing::new(Vec::new()));
        Self { session, method: PairingMethod::Compare, secret, coordinator: None }
    }
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceCode({}, {}, ..)", self.method, self.session)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::entropy::EntropyError;

    struct Bytes(u8, u8);
    impl Entropy for Bytes {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            for byte in bytes {
                *byte = self.0;
                self.0 = self.0.wrapping_add(self.1);
            }
            Ok(())
        }
    }

    #[test]
    fn pins_that_are_guessed_first_are_neither_drawn_nor_taken() {
        for pin in
            ["000000", "99999999", "123456", "654321", "12345", "12345678901", "12a456", "１２３４５６", ""]
        {
            assert_eq!(check_pin(pin), Err(PairingError::BadCode), "{pin}");
        }
        assert_eq!(check_pin("135790"), Ok(()));
        for typed in ["482 913", " 482913\n", "4 8 2 9 1 3"] {
            let session = DeviceCode::session(" S1\n").unwrap();
            assert_eq!(session.as_str(), "s1");
            let read = DeviceCode::from_pin(session, typed).unwrap();
            assert_eq!(read.secret.bytes(), b"482913", "{typed}");
        }
        for bad in ["", "s 1/", "\u{ff53}1"] {
            assert_eq!(DeviceCode::session(bad), Err(PairingError::BadCode), "{bad}");
        }
        // Sources that repeat one byte, or count, give only such PINs: refused, not given out.
        for (start, step) in [(7, 0), (255, 0)] {
            assert!(draw_pin(6, &mut Bytes(start, step)).is_err());
        }
        let pin = draw_pin(8, &mut Bytes(5, 37)).unwrap();
        assert_eq!(check_pin(&pin), Ok(()));
        assert_eq!(pin.len(), 8);
    }

    #[test]
    fn a_qr_text_comes_back_as_people_type_it_and_no_other_does() {
        let session = SessionId::new("s1").unwrap();
        let coordinator = Sha256Digest::of(b"coordinator");
        let (secret, code) = draw(PairingMethod::Qr, 6, &session, &coordinator, &mut Bytes(170, 1)).unwrap();
        let text = code.expose();
        let read = DeviceCode::from_qr(text).unwrap();
        assert_eq!(read.secret.bytes(), secret.bytes());
        assert_eq!((read.session, read.coordinator), (session, Some(coordinator)));
        for typed in [
            &text.to_uppercase(),
            &text.replace("aa", "AA"),
            &text.replace("aa", " aa\n"),
            &format!(" {text}\r\n"),
        ] {
            assert_eq!(DeviceCode::from_qr(typed).unwrap().secret.bytes(), secret.bytes(), "{typed}");
        }
        for bad in [
            &text[1..],
            &text[..text.len() - 2],
            &format!("{text}/"),
            &format!("{text}00"),
            &text.replace("aa", "a\u{a0}a"),
            &text.replace("aa", "a-a"),
            &text.replace("s", "\u{17f}"),
            &"x".repeat(600),
        ] {
            assert!(matches!(DeviceCode::from_qr(bad), Err(PairingError::BadCode)), "{bad}");
        }
    }

    /// Attack P2: what a debug log would hold.
    #[test]
    fn p2_codes_are_not_in_debug_output() {
        let session = SessionId::new("s1").unwrap();
        let coordinator = Sha256Digest::of(b"coordinator");
        for method in [PairingMethod::Qr, PairingMethod::Pin] {
            let (secret, code) = draw(method, 6, &session, &coordinator, &mut Bytes(5, 37)).unwrap();
            let shown = format!("{secret:?} {code:?}");
            let hidden = code.expose().rsplit('/').next().unwrap();
            assert!(!shown.contains(hidden), "{shown}");
            assert!(!shown.contains(&format!("{:?}", secret.bytes())), "{shown}");
        }
        let typed = DeviceCode::from_pin(session, "482913").unwrap();
        assert!(!format!("{typed:?}").contains("482913"));
    }
}
