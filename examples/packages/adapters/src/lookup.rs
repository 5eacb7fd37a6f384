//! The next planned of an chain where names are looked up beside tokio: what the asynchronous clients have in common.

use std::{io, net::IpAddr};

use leasehold::egress::{PlannedRequest, RequestChain, Step};

/// Judges the next request of `chain`, looks its host up where only addresses are missing, and redeems the permit. A name
/// that `names` knows no address of is refused.
///
/// # Errors
/// The denial, as an I/O error that carries it: `Denied::within` finds it.
pub async fn plan<N>(chain: &RequestChain, names: &N) -> io::Result<PlannedRequest>
where
    N: Fn(&str) -> Vec<IpAddr> + Clone + Send + 'static,
{
    let verdict = match chain.judge() {
        Step::Decided(verdict) => verdict,
        Step::Lookup(pending) => {
            let (name, names) = (pending.name().to_owned(), names.clone());
            let answers = tokio::task::spawn_blocking(move || names(&name)).await?;
            pending.answers(answers)
        }
    };
    Ok(chain.redeem(verdict)?)
}
