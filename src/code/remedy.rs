//! What to do about each code. A row holds for its code and for every code below it that has no row of its own.

use alloc::{format, string::String};

use super::{Code, all};

/// Sorted by the first column; a test holds the order.
#[rustfmt::skip]
const REMEDIES: &[(&str, &str)] = &[
    ("anchor", "Operator: list the anchors that the state holds, and pin, announce or withdraw in that order; see the manual's page on operating a fleet."),
    ("artifact", "Worker: report exactly the files that the lease allows and that were written, with their digests and sizes, and complete again while the lease lives."),
    ("artifact.log", "Worker: send the log that was uploaded, cut to the lease's limit."),
    ("artifact.missing", "The tool did not write an output that the lease demands: look at its log, then run it again."),
    ("artifact.not_allowed", "Write below an output path of the lease, or have the service ask for a lease whose workspace opens this path."),
    ("attest", "Worker: ask for a new challenge and attest again with fresh evidence."),
    ("attest.device_busy", "Retire the other worker of this device first; a device runs one worker."),
    ("attest.nonces_full", "Wait until nonces expire, or raise `limits.nonces` of the fleet policy."),
    ("attest.other_device", "Retire the worker, and let it join from its new device as a new incarnation."),
    ("attest.refused", "Read the failures that the answer lists: each has its own code."),
    ("attestation", "Compare the evidence with the attestation policy, for instance with `leasehold attest test`; change the one that is wrong."),
    ("attestation.accepted", "Nothing: the evidence is good."),
    ("attestation.artifact", "Add the artifact's digest to `artifact` of the policy if it is trusted; otherwise start the right artifact."),
    ("attestation.audience", "Have the launcher put the id of this fleet into the evidence."),
    ("attestation.authority", "Renew the document that grants the capabilities, or add its digest to `capabilities.authorities`."),
    ("attestation.build", "Add the build's digest to `build` of the policy if it is trusted; otherwise build again from the right source."),
    ("attestation.capabilities", "Claim no more than the authority grants and the policy trusts, or extend `capabilities`."),
    ("attestation.certificate", "Present the device certificate that the evidence names, or make evidence for the present one."),
    ("attestation.check", "Nothing by itself: it names a check that was waived or not reached. The other failures say why."),
    ("attestation.device", "Make the evidence on the device that presents it; a revoked device needs the operator's decision."),
    ("attestation.egress", "Start the egress proxy of the policy in front of the worker, and let it sign a binding for this challenge."),
    ("attestation.expired", "Make fresh evidence; look at the worker's clock if it is fresh."),
    ("attestation.expires", "Have the launcher write when the evidence ends."),
    ("attestation.from_future", "Set the worker's clock, or raise `times.future_skew_ms` if the difference is known and harmless."),
    ("attestation.image", "Add the image's digest to `image` of the policy if it is trusted; otherwise start the right image."),
    ("attestation.issued", "Have the launcher write when the evidence was made."),
    ("attestation.key", "Sign with a key that the policy trusts for this role, worker, predicate and time, or add it to `keys`."),
    ("attestation.lint", "Read the warning: the policy is valid, and this part of it never helps or helps the wrong party."),
    ("attestation.nonce", "Attest over the nonce of the last challenge, each nonce once."),
    ("attestation.policy", "Change one of the members that the message shows; `leasehold policy check` names line and column."),
    ("attestation.predates_challenge", "Make the evidence after the challenge arrived, not before."),
    ("attestation.protocol", "Update the worker's SDK to a version that the policy takes, or widen `protocol`."),
    ("attestation.provenance", "Attach the builders' envelopes to the evidence."),
    ("attestation.stale", "Attest again: a policy or revocation came between the appraisal and its use."),
    ("attestation.too_old", "Make fresh evidence; raise `times.max_age_ms` only if the way to the coordinator is that slow."),
    ("attestation.wit", "Update the interface that the worker lacks, or change `wit` of the policy."),
    ("attestation.worker", "Put the id of this worker into the evidence; a revoked worker needs the operator's decision."),
    ("bundle", "Attach a Sigstore bundle of version 0.3 or later that holds a DSSE envelope."),
    ("capability", "Name fewer capabilities."),
    ("certificate", "Present a certificate that the registry knows and that is valid now; register, rotate or replace the device otherwise."),
    ("certificate.revoked", "Pair the device again with a new key; what is revoked does not come back."),
    ("chunk", "Send the chunks of one snapshot in their order, none twice, all of them whole."),
    ("cleanup", "Clean the workspace on the worker, report again, and have it inspected where the policy says so; an operator may force it."),
    ("cleanup.other_lease", "Report the cleanup of the lease that was lost, with its fence."),
    ("command", "Send each command once, with an id that is not used, and repeat it only while its answer is remembered."),
    ("command.sessions_full", "Wait until idle sessions are forgotten, or raise `limits.sessions`."),
    ("connection", "Close the connection and connect again after a pause; if it goes on, look at the peer that the log names."),
    ("connection.too_many", "Wait before connecting again, or raise the endpoint's bound of connections."),
    ("coordinator", "Connect to the coordinator that the worker is paired with. If it has changed, follow its announced certificate or pair again."),
    ("device", "Operator: look at the device in the registry, then register, replace or rotate it."),
    ("device.full", "Remove devices that are revoked, or raise `limits.devices`."),
    ("device.renewal_late", "Pair the device again, or lengthen `identity.renewal_grace_ms` if it may come back this late."),
    ("device.renewal_unordered", "Operator: order renewals for the device's name and kind, with a count and an end, or pair it again."),
    ("device.revoked", "Pair the device again with a new key; what is revoked does not come back."),
    ("device.snapshot", "The stored state is not one that this version wrote: restore another snapshot, and report this one."),
    ("device.too_often", "Wait for `limits.admission_window_ms`; a worker that loops needs its cause found first."),
    ("digest", "Write 64 lowercase hex digits of SHA-256."),
    ("dispatch", "Look at the request's state before asking again; a final state stays final."),
    ("dispatch.capability", "Grant the capability to the device, and let it claim it when it opens its stream."),
    ("dispatch.device", "Wait until the device has a stream and room; a drained, quarantined or revoked one needs the operator."),
    ("dispatch.devices_full", "Wait until streams close, or raise the dispatch policy's bound."),
    ("dispatch.failed", "Enqueue a new request if its work may be done again; whether it was done once is not known."),
    ("dispatch.full", "Collect results and wait until requests end, or raise the dispatch policy's bounds."),
    ("dispatch.full_bytes", "Collect results and wait until requests end, or raise the dispatch policy's bounds."),
    ("dispatch.mediation", "Have the mediator decide in the order of the requests, one decision for each."),
    ("dispatch.policy", "Change the member of the dispatch policy that the message names."),
    ("dispatch.queue_full", "Wait until the device works its queue off, or enqueue at another one."),
    ("dispatch.rejected", "Nothing to repeat: the request was ended on purpose. Its reason is the last part of the code."),
    ("dispatch.stale_decision", "Decide again: the state has changed in between."),
    ("dispatch.succeeded", "Nothing: collect the result."),
    ("dispatch.timed_out", "Give the request a later deadline, or find out why the device was slow."),
    ("dsse", "Sign the payload as DSSE v1 with a trusted key, enough owners of them, and the payload type of the document."),
    ("dsse.verified", "Nothing: the envelope is verified."),
    ("egress.address", "The name resolves to an address that no rule may reach. Correct the DNS record, or declare a private endpoint with `private_addresses`, `hosts` and `ports`."),
    ("egress.address.denied", "The address is on the deny list: take it off if that is a mistake."),
    ("egress.address.link_local", "Use a routable address; link-local ones can be declared with `private_addresses`, metadata services never."),
    ("egress.address.malformed", "Write the address as dotted-quad IPv4 or RFC 4291 IPv6, without zone or brackets."),
    ("egress.address.metadata", "Nothing allows a metadata service: give the worker its credentials through the policy instead."),
    ("egress.address.public", "Nothing: the address may be reached."),
    ("egress.allowed", "Nothing: the request is allowed."),
    ("egress.budget", "The lease has used up what its rule allows: take a new lease, or raise the budget."),
    ("egress.credentials", "Send the request over https to a host of the rule, and see that the secret store has the secret; the workload itself sends no such header."),
    ("egress.dns", "Look at the resolver and at the spelling of the name; more addresses than the bound are refused as a whole."),
    ("egress.echo", "Ask for whole and unencoded answers through what masks them, with a secret of at least eight bytes; or leave out mask_echoes."),
    ("egress.headers", "Send each header once, well-formed, and leave framing to the client library."),
    ("egress.hello", "The tunnel does not begin with a TLS hello: use TLS, or a plain http rule."),
    ("egress.host", "Add the host to `hosts` or `suffixes` of a rule if it may be reached; write it in ASCII without port or wildcard."),
    ("egress.host.denied", "The host is on the deny list: take it off if that is a mistake."),
    ("egress.host.match", "Nothing: the rule matches."),
    ("egress.http", "The client does not send HTTP/1.1 as RFC 9112 has it: use another client library, and send no raw bytes."),
    ("egress.lease", "The lease that the request hangs on does not hold at the enforcement point: take a new lease, or wait for the feed to catch up."),
    ("egress.lease.rule_out_of_scope", "Ask for a lease whose egress scope has this rule."),
    ("egress.limits", "Send a smaller body, or raise the limit of the rule."),
    ("egress.lint", "Read the warning: the policy is valid, and this part of it allows more or less than it seems to."),
    ("egress.method", "Add the method to `methods` of the rule; left out, they are GET and HEAD. TRACE is never allowed."),
    ("egress.path", "Add a prefix of the path to `paths` of the rule, or leave `paths` out."),
    ("egress.permit", "Ask for a new permit; each holds for one request of one lease, for seconds."),
    ("egress.policy", "Change the member that the message names; `leasehold policy check` names line and column."),
    ("egress.policy.valid", "Nothing: the policy is valid."),
    ("egress.port", "Add the port to `ports` of the rule; left out, it is the scheme's default port."),
    ("egress.redirect", "Raise `max_redirects`, or request the final URL; a redirect that leaves https or repeats a body is never followed."),
    ("egress.route", "Write the route as the enforcement point's page says, with a rule that has one origin."),
    ("egress.scheme", "Use https, or add `http` to `schemes` of the rule."),
    ("egress.scope", "Name fewer rules in the lease's egress scope."),
    ("egress.secret", "See that the reference is well-formed and the secret store answers."),
    ("egress.sign", "Send the request through what signs it, with a body that fits, and see that the secret is a key in the form that the rule names."),
    ("egress.token", "Send the token that came with the lease, whole and unchanged."),
    ("egress.url", "Send the URL as RFC 3986 writes it: no user name, backslash, fragment or stray percent sign."),
    ("endpoint", "The host program drives the endpoint in the wrong order: drain its output after each input, and give it a monotonic time."),
    ("endpoint.config", "Change the member of the endpoint's configuration that the message names."),
    ("entropy", "The random source failed: no secret is made without it. Repair it and start again."),
    ("epoch", "Start one coordinator at a time, on the epoch store that the last one used."),
    ("epoch.store_failed", "Repair the disk that holds the epoch; without a durable epoch no fence is given out."),
    ("evidence", "Worker: attest again under the policy that is in force."),
    ("explain", "Write one JSON object with the members of its kind; `examples/scenarios` shows each kind."),
    ("feed", "Enforcement point: ask for the leases from the start; until then everything is refused."),
    ("fleet.brake", "Look at the coordinator's own network first: so many workers do not fall silent by themselves."),
    ("fleet.full", "Retire workers that are gone, or raise `limits.workers`."),
    ("fleet.halted", "Stop this coordinator, repair what the journal's error names, and recover from snapshot and journal."),
    ("fleet.no_worker", "Wait for a worker, start one that has the capabilities, or ask for fewer."),
    ("fleet.not_handed_out", "Report only batches that this coordinator handed out, after they were written."),
    ("fleet.other_epoch", "Drop what the former coordinator left under way: decide again, and write only what the present one hands out."),
    ("fleet.quiet", "Wait until the quiet period after the restore has ended."),
    ("fleet.runs_full", "Wait until ended runs are forgotten, or raise `limits.runs`."),
    ("fleet.stale_decision", "Decide again: the state has changed in between."),
    ("fleet.sweeping", "Let time pass for the coordinator, so that it goes on with the sweep, and ask again."),
    ("fleet.unrecoverable", "Report this with the operation: it is a fault of this crate. If the coordinator halted, recover; the journal is whole."),
    ("frame", "The peer does not speak this protocol or this version of it: close the connection and look at both versions."),
    ("grant", "Mint a new grant for this fleet and tool, with the capabilities and the time that the run needs; each is spent once."),
    ("grant.not_trusted", "Add the issuer's key to `runs.issuers`, or have a trusted issuer sign."),
    ("grant.too_long", "Mint the grant for at most `runs.grant_lifetime_max_ms`."),
    ("grant.too_many", "Wait until spent grants expire, or raise `limits.grants`."),
    ("id", "Write the id in its grammar: letters, digits, dot, hyphen and underscore, not empty, within its bound."),
    ("input", "Send the inputs that the lease names, unchanged."),
    ("issue", "Send a certificate request for the paired key, and see that the issuer answers."),
    ("journal", "Stop, keep a copy of the files, and follow the message: a damaged journal is restored from a backup, never edited."),
    ("journal.busy", "Wait until the write that is under way has ended."),
    ("journal.failed", "Repair the disk, then restart: recovery goes on from what lasts."),
    ("journal.full", "Free space on the disk, then restart."),
    ("journal.locked", "Another process has this journal open: stop it first."),
    ("journal.not_next", "Apply entries in the order of the log, each once; one of a former leader that was not committed is skipped."),
    ("journal.nothing", "Found a new fleet, or name the folder that holds the journal."),
    ("journal.version", "Read the journal with the version that wrote it; see the manual's page on upgrading."),
    ("json", "Write strict JSON: UTF-8, unique keys, nothing after the value, within the limits; `leasehold policy check` names line and column."),
    ("json.strict", "Nothing: the document is strict JSON."),
    ("key", "Pair the device again with a new key; what is revoked does not come back."),
    ("keyless", "See that the bundle was signed by the identity that the policy names as a builder, and that the trust root of its verifier is current."),
    ("keyless.no_verifier", "Give the coordinator a verifier of identities, or let builders sign with keys."),
    ("keyless.root", "Load the current trust root of the verifier of identities."),
    ("lease", "Worker: stop the run, clean up, and ask what is assigned; the message is not of the lease that lives."),
    ("lease.cleaning_up", "Wait until the worker has reported its cleanup."),
    ("lease.expired", "Stop the run: the lease has ended. The service may ask for another lease of the run."),
    ("lease.horizon", "Complete the run: the lease cannot be renewed beyond `lease.longest_ms`, its grant, evidence or certificate."),
    ("lease.revoked", "Worker: stop the run, clean up, and acknowledge the revocation."),
    ("lease.stale_fence", "Stop the run and clean up: somebody else has it, or it is over."),
    ("lease.too_short", "Ask for a longer lease, or wait until evidence and certificate are renewed."),
    ("message", "The peer sends messages out of turn: close the connection and look at both versions."),
    ("nonce", "Worker: ask for a new challenge and attest over its nonce, before it expires."),
    ("order", "Operator: look at the standing orders that the state holds, then make one with a name, a count and an end of its own."),
    ("order.expired", "Operator: make another enrolment key or order; this one stays past its time."),
    ("order.full", "Take back an order that nobody needs, or wait until one is past its time."),
    ("order.no_seed", "Give the pairing port an enrolment seed, 32 random bytes that the host keeps over restarts."),
    ("order.revoked", "Operator: make another one for the devices that may still come; what is revoked does not come back."),
    ("order.scope", "Name and kind of the device are not those that the order is for: correct the one that is wrong."),
    ("order.terms", "Change the member that the message names to what it may be."),
    ("order.used_up", "See that only known devices used it, then make another one for those that are left."),
    ("pairing", "Begin the pairing again with a new code, on both sides, within its time."),
    ("pairing.no_pake", "Build with the feature `pake-cpace` and give the issuer a provider, or pair by comparison or QR code."),
    ("pairing.policy", "Change the member of the pairing policy that the message names."),
    ("pairing.rate", "Wait: wrong codes are counted. If nobody is pairing, somebody is guessing."),
    ("pairing.snapshot", "The stored state is not one that this version wrote: restore another snapshot, and report this one."),
    ("placement", "Read the list of executors and why each was rejected; change the tool's needs, the policy or the inventory."),
    ("placement.approval", "Have the operator approve this tool on this kind of executor, or approve again."),
    ("placement.chosen", "Nothing: an executor was chosen."),
    ("placement.posture", "Offer an executor with the isolation that the tool asks for; it is never lowered."),
    ("policy", "Change one of the members that the message shows; `leasehold policy check` names line and column."),
    ("policy.below_held", "Let the bound be at least what the fleet holds, or retire and forget first."),
    ("policy.other_fleet", "Load the policy of this fleet: `fleet` names it."),
    ("principal", "Ask as the principal that may do this: a worker for its lease, a service for runs, an operator for the fleet."),
    ("protocol", "Upgrade the side that is behind: the coordinator first, then enforcement points, then workers."),
    ("resolve", "Look at the resolver; the request may be repeated."),
    ("restore", "Restore with the revocations that the operator knows of, so that none comes back to life."),
    ("revocation", "Name what is registered and not revoked yet; clear revocations of what is gone to make room."),
    ("rotation", "Begin the rotation that is meant, with an overlap of at most 30 days."),
    ("run", "Look at the run's last record: a run that ended or is held is not leased again under its id."),
    ("run.held", "Wait until the lost lease has expired and its grace has passed, or its cleanup is accepted."),
    ("run.no_attempts", "Find out why the attempts failed, then start a new run, or raise `runs.max_attempts`."),
    ("signature", "Build with the feature of the key's algorithm, and write the key in its encoding."),
    ("snapshot", "Raise the bound of the snapshot's reader, or lower the limits of the fleet."),
    ("statement", "Write an in-toto Statement v1 with the predicate type that the policy names."),
    ("summary", "Have the verifier appraise again, for this resource, policy and time."),
    ("time", "See to the host's clock. If the wall clock is right, an operator accepts the leap."),
    ("version", "Write a version as semver 2.0.0 has it."),
    ("worker", "Look at the worker's state: the last part of the code says what keeps it from acting."),
    ("worker.capabilities", "Ask for capabilities that the worker was accepted with, or attest again with more."),
    ("worker.not_heard", "Look at the worker's network; it counts again as soon as it is heard."),
    ("worker.offline", "Look at the worker's network; it counts again as soon as it is heard."),
    ("worker.orphaned", "Let the worker report its cleanup and attest again; if it is gone, an operator forces the cleanup."),
    ("worker.quarantined", "Do what the reason demands: cleanup, fresh evidence, and the operator's release where the operator set it."),
    ("worker.retired", "Nothing brings a retired worker back: let it join under a new id."),
    ("worker.set_aside", "Ask for a probe (`as_probe_of`) once its cause is found, or have an operator `undrain` it; ask for another worker meanwhile."),
    ("worker.stale_handle", "Worker: join again; this process is of an older incarnation."),
    ("worker.unknown", "Let the worker attest: the fleet does not know it, or has forgotten it."),
    ("workspace", "Write relative paths without `..`, inside the workspace, few and short enough."),
];

/// What to do about a code; none for a group that is not described yet.
pub fn remedy(code: Code) -> Option<&'static str> {
    let mut name = code.as_str();
    loop {
        if let Ok(at) = REMEDIES.binary_search_by(|(row, _)| (*row).cmp(name)) {
            return REMEDIES.get(at).map(|(_, remedy)| *remedy);
        }
        name = name.get(..name.rfind('.')?)?;
    }
}

/// The manual's page of codes, as Markdown: every code with its meaning and what to do about it.
pub fn page() -> String {
    let mut page = String::from(
        "Every stable code, group by group: what it means, and what to do about it. A code never changes its meaning.\n",
    );
    let mut group = "";
    for entry in all() {
        let code = entry.code.as_str();
        let own = code.split('.').next().unwrap_or(code);
        if own != group {
            group = own;
            page.push_str(&format!("\n# `{group}`\n\n| code | meaning | what to do |\n|---|---|---|\n"));
        }
        let remedy = remedy(entry.code).unwrap_or_default();
        page.push_str(&format!("| `{code}` | {} | {remedy} |\n", entry.meaning));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_remedy_and_every_row_is_used() {
        assert!(REMEDIES.is_sorted_by(|a, b| a.0 < b.0), "the rows are in order, none twice");
        for entry in all() {
            assert!(remedy(entry.code).is_some(), "{} has no remedy: add a row above", entry.code);
        }
        for (row, _) in REMEDIES {
            let used = all().any(|entry| {
                entry
                    .code
                    .as_str()
                    .strip_prefix(row)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            assert!(used, "no code for the row {row}");
        }
    }
}
