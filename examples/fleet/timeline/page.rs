//! The page: one file with its style and script inside, which asks no network for anything.

use std::fmt::{self, Write as _};

use leasehold::lease::Fence;

use super::{Ending, FLEET, Mark, Span, Timeline, Tone};
use crate::{escape::shown, process_log::Outcome};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Text of others inside HTML, as content or as a quoted attribute.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in shown(self.0).chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Bad => "bad",
        }
    }
}

impl Span {
    fn tone(&self) -> Tone {
        match &self.end {
            None => Tone::Note,
            Some((_, how)) if how == "completed" => Tone::Good,
            Some(_) => Tone::Bad,
        }
    }

    fn describe(&self) -> String {
        let Fence { epoch, counter } = self.fence;
        let began = self.started_ms.map_or("never started".into(), |at| format!("started at {at} ms"));
        let ended = match &self.end {
            None => "not ended".into(),
            Some((at, how)) => format!("ended at {at} ms: {how}"),
        };
        format!(
            "{} on {}, attempt {}, fence {}.{counter}: granted at {} ms, {began}, {} renewals, {ended}",
            self.run, self.worker, self.attempt, epoch.0, self.granted_ms, self.renewals
        )
    }
}

/// The whole page. `title` names what was run.
pub fn page(timeline: &Timeline, title: &str, broken: Option<&[String]>) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut out, timeline, title, broken);
    out
}

fn write_page(out: &mut String, timeline: &Timeline, title: &str, broken: Option<&[String]>) -> fmt::Result {
    let title = Text(title);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\
         </head>\n<body>\n<header><h1>{title}</h1>\n"
    )?;
    summary(out, timeline, broken)?;
    out.write_str("</header>\n<main>\n")?;
    lanes(out, timeline)?;
    endings(out, &timeline.endings)?;
    codes(out, timeline)?;
    happenings(out, &timeline.marks)?;
    write!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body></html>\n")
}

fn summary(out: &mut String, timeline: &Timeline, broken: Option<&[String]>) -> fmt::Result {
    let count = |outcome| timeline.endings.iter().filter(|ending| ending.outcome == outcome).count();
    write!(
        out,
        "<p>{} jobs ended: {} done, {} failed, {} lost, {} cancelled. {} leases on {} workers in {:.1} s.",
        timeline.endings.len(),
        count(Outcome::Done),
        count(Outcome::Failed),
        count(Outcome::Lost),
        count(Outcome::Cancelled),
        timeline.spans.len(),
        timeline.lanes.len(),
        seconds(timeline.last_ms)
    )?;
    if timeline.left_out > 0 {
        write!(out, " {} more happenings are not shown.", timeline.left_out)?;
    }
    out.write_str("</p>\n")?;
    match broken {
        // Only the process that ran the fleet has audited it.
        None => Ok(()),
        Some([]) => out.write_str("<p class=\"good\">Every invariant that the supervisor audits held.</p>\n"),
        Some(lines) => {
            out.write_str("<ul class=\"bad\">")?;
            lines.iter().try_for_each(|line| write!(out, "<li>{}</li>", Text(line)))?;
            out.write_str("</ul>\n")
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of one run, for people")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A place on the line of time, in percent of its length.
struct Scale(u64);

impl Scale {
    fn at(&self, ms: u64) -> f64 {
        seconds(ms) / seconds(self.0.max(1)) * 100.0
    }
}

fn lanes(out: &mut String, timeline: &Timeline) -> fmt::Result {
    let scale = Scale(timeline.last_ms);
    out.write_str(
        "<section aria-labelledby=\"lanes\"><h2 id=\"lanes\">Leases over time</h2>\n<p class=\"help\">Tab or the \
         arrow keys move from one to the next; the line below says what it is. Leases with a dashed \
         edge were lost; dots below are joins, refusals and decisions, diamonds are kills and quarantines.</p>\n<p id=\"detail\" \
         role=\"status\">Nothing is chosen.</p>\n<div class=\"lanes\">\n",
    )?;
    let mut names: Vec<&str> = timeline.lanes.keys().map(String::as_str).collect();
    names.push(FLEET);
    for name in names {
        write!(out, "<div class=\"lane\"><h3>{}</h3><div class=\"line\">", Text(name))?;
        for span in timeline.spans.iter().filter(|span| span.worker == name) {
            let begin = scale.at(span.granted_ms);
            let end = scale.at(span.end.as_ref().map_or(timeline.last_ms, |(at, _)| *at));
            let label = span.describe();
            write!(
                out,
                "<button type=\"button\" class=\"lease {}\" style=\"left:{begin:.3}%;width:{:.3}%\" \
                 title=\"{label}\" aria-label=\"{label}\">{}</button>",
                span.tone().class(),
                (end - begin).max(0.1),
                Text(&span.run),
                label = Text(&label)
            )?;
        }
        for mark in timeline.marks.iter().filter(|mark| mark.lane == name) {
            let label = format!("{} at {} ms: {}", mark.kind, mark.at_ms, mark.text);
            write!(
                out,
                "<button type=\"button\" class=\"mark {}\" style=\"left:{:.3}%\" title=\"{label}\" \
                 aria-label=\"{label}\"></button>",
                mark.tone.class(),
                scale.at(mark.at_ms),
                label = Text(&label)
            )?;
        }
        out.write_str("</div></div>\n")?;
    }
    write!(out, "<div class=\"lane axis\"><h3>seconds</h3><div class=\"line\">")?;
    for tenth in 0..=10_u64 {
        let at = timeline.last_ms * tenth / 10;
        write!(out, "<span style=\"left:{:.3}%\">{:.1}</span>", scale.at(at), seconds(at))?;
    }
    out.write_str("</div></div>\n</div></section>\n")
}

fn endings(out: &mut String, endings: &[Ending]) -> fmt::Result {
    table(out, "Terminal records", &["job", "outcome", "attempts", "waited", "took", "why"])?;
    for ending in endings {
        let waited = ending.waited_ms.map_or("never started".into(), |ms| format!("{ms} ms"));
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{waited}</td><td>{} ms</td><td>{}</td></tr>",
            Text(&ending.run),
            if ending.outcome == Outcome::Done { "good" } else { "bad" },
            ending.outcome.name(),
            ending.attempts,
            ending.took_ms,
            Text(&ending.reason)
        )?;
    }
    out.write_str("</tbody></table></section>\n")
}

fn codes(out: &mut String, timeline: &Timeline) -> fmt::Result {
    table(out, "Codes", &["code", "times"])?;
    for (code, times) in &timeline.codes {
        writeln!(out, "<tr><td>{}</td><td>{times}</td></tr>", Text(code))?;
    }
    out.write_str("</tbody></table></section>\n")
}

fn happenings(out: &mut String, marks: &[Mark]) -> fmt::Result {
    table(out, "What else happened", &["at", "where", "what", "facts"])?;
    for mark in marks {
        let (lane, text, class) = (Text(&mark.lane), Text(&mark.text), mark.tone.class());
        writeln!(
            out,
            "<tr><td>{} ms</td><td>{lane}</td><td class=\"{class}\">{}</td><td>{text}</td></tr>",
            mark.at_ms, mark.kind
        )?;
    }
    out.write_str("</tbody></table></section>\n")
}

fn table(out: &mut String, title: &str, columns: &[&str]) -> fmt::Result {
    write!(out, "<section><h2>{title}</h2><table><thead><tr>")?;
    columns.iter().try_for_each(|column| write!(out, "<th scope=\"col\">{column}</th>"))?;
    out.write_str("</tr></thead><tbody>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process_log::LogEntry;

    fn entry(text: &str) -> LogEntry {
        serde_json::from_str(text).unwrap()
    }

    /// Text of peers becomes text, in content and in attributes; the page names no place outside of itself.
    #[test]
    fn a_page_holds_no_markup_of_others() {
        let mut timeline = Timeline::default();
        let evil = r#"\"><script src=//evil.test></script>'&"#;
        for text in [
            r#"{"note":"joined","worker":"worker-1","slot":0,"incarnation":1}"#.to_owned(),
            r#"{"note":"leased","run":"r","worker":"worker-1","attempt":1,"grant":"g","fence":{"epoch":1,"counter":1}}"#.into(),
            r#"{"note":"lease_ended","run":"r","worker":"worker-1","fence":{"epoch":1,"counter":1},"how":"expired"}"#.into(),
            format!(r#"{{"note":"refused","peer":"{evil}","act":"{evil}","code":"{evil}","message":"{evil}"}}"#),
            format!(r#"{{"note":"killed","process":"worker-1","why":"{evil}"}}"#),
        ] {
            timeline.record(10, "coordinator", &entry(&text));
        }
        let page = page(&timeline, evil, Some(&[evil.to_owned()]));
        assert_eq!(page.matches("<script").count(), 1, "only the page's own");
        assert!(!page.contains("src=//evil") || page.contains("&lt;script src=//evil"));
        assert!(!page.contains("http://") && !page.contains("https://"));
        assert!(page.contains("class=\"lease bad\"") && page.contains("fence 1.1"));
    }

    /// What is over the bound is counted and not kept.
    #[test]
    fn a_timeline_is_bounded() {
        let mut timeline = Timeline::default();
        let fault = entry(r#"{"note":"fault","message":"x"}"#);
        for at in 0..super::super::MAX_KEPT as u64 + 7 {
            timeline.record(at, "w", &fault);
        }
        assert_eq!((timeline.marks.len(), timeline.left_out), (super::super::MAX_KEPT, 7));
    }
}
