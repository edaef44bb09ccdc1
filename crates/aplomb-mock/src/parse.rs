//! Parsing the values of the command line.

use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use aplomb_mock::{Charging, Fault, Hints, Latency, Outage, WhenFull};

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("`{text}` is not a duration: write 250ms, 1.5s or 2m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

pub(crate) fn range(text: &str) -> Result<Range<Duration>, String> {
    let (from, to) =
        text.split_once("..").ok_or_else(|| format!("`{text}` is not a range: write 10s..30s"))?;
    let range = duration(from)?..duration(to)?;
    if range.is_empty() {
        Err(format!("`{text}` is empty"))
    } else {
        Ok(range)
    }
}

pub(crate) fn fault(text: &str) -> Result<(Fault, f64), String> {
    let (kind, rate) = text.split_once('=').ok_or("write KIND=RATE, as in 503=0.05")?;
    let share = rate.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
    let share = share.ok_or_else(|| format!("`{rate}` is not a share from 0 to 1"))?;
    Ok((kind_of_fault(kind)?, share))
}

fn kind_of_fault(text: &str) -> Result<Fault, String> {
    let (name, delay) = match text.split_once('@') {
        Some((name, delay)) => (name, Some(duration(delay)?)),
        None => (text, None),
    };
    let delayed: Option<fn(Duration) -> Fault> = match name {
        "503" => Some(Fault::UnavailableFor),
        "429" => Some(Fault::ThrottledFor),
        "slow-head" => Some(Fault::SlowHead),
        "only-pings" => Some(Fault::OnlyPings),
        "late-pings" => Some(Fault::LatePings),
        _ => None,
    };
    match (delayed, delay) {
        (Some(delayed), Some(delay)) => return Ok(delayed(delay)),
        (Some(_), None) if !matches!(name, "503" | "429") => {
            return Err(format!("write {name}@DELAY, as in {name}@5s"));
        }
        (None, Some(_)) => return Err(format!("{name} takes no delay")),
        (_, None) => {}
    }
    let found = Fault::each(Duration::ZERO).into_iter().find(|fault| fault.name() == name);
    found.ok_or_else(|| format!("unknown fault `{name}`"))
}

pub(crate) fn outage(text: &str) -> Result<(Range<Duration>, Outage), String> {
    let (when, how) = text.split_once('=').unwrap_or((text, "503"));
    let how = match how {
        "503" => Outage::Unavailable,
        "refuse" => Outage::Refuse,
        "reset" => Outage::Reset,
        "hang" => Outage::Hang,
        _ => return Err(format!("unknown outage `{how}`: write 503, refuse, reset or hang")),
    };
    Ok((range(when)?, how))
}

/// A fault with its rate, in a range of times.
pub(crate) fn brownout(text: &str) -> Result<(Range<Duration>, Fault, f64), String> {
    let (when, what) = text.split_once('=').ok_or("write FROM..TO=KIND=RATE, as in 10s..20s=503=0.3")?;
    let (fault, rate) = fault(what)?;
    Ok((range(when)?, fault, rate))
}

/// A limit for each window.
pub(crate) fn per_window(text: &str) -> Result<(u64, Duration), String> {
    let (limit, window) = text.split_once('/').ok_or("write LIMIT/WINDOW, as in 100/10s")?;
    Ok((limit.parse().map_err(|_| format!("`{limit}` is not a limit"))?, duration(window)?))
}

/// A limit from a time on.
pub(crate) fn limit_from(text: &str) -> Result<(Duration, u64), String> {
    let (after, limit) = text.split_once('=').ok_or("write TIME=LIMIT, as in 30s=300")?;
    Ok((duration(after)?, limit.parse().map_err(|_| format!("`{limit}` is not a limit"))?))
}

pub(crate) fn when_full(text: &str) -> Result<WhenFull, String> {
    match text.split_once('@') {
        None if text == "overloaded" => Ok(WhenFull::Overloaded),
        None if text == "429" => Ok(WhenFull::Throttled),
        Some(("429", delay)) => Ok(WhenFull::ThrottledFor(duration(delay)?)),
        _ => Err(format!("unknown answer `{text}`: write overloaded, 429 or 429@DELAY")),
    }
}

pub(crate) fn latency(text: &str) -> Result<Latency, String> {
    if let Some((median, sigma)) = text.split_once('~') {
        let spread = sigma.parse::<f64>().ok().filter(|sigma| sigma.is_finite() && *sigma >= 0.0);
        let spread = spread.ok_or_else(|| format!("`{sigma}` is not a sigma"))?;
        return Ok(Latency::lognormal(duration(median)?, spread));
    }
    if text.contains("..") {
        range(text).map(Latency::uniform)
    } else {
        duration(text).map(Latency::constant)
    }
}

pub(crate) fn hints(text: &str) -> Result<Hints, String> {
    match text {
        "all" => Ok(Hints::All),
        "retry-after" => Ok(Hints::RetryAfter),
        "text" => Ok(Hints::Text),
        "none" => Ok(Hints::None),
        _ => Err(format!("unknown hints `{text}`: write all, retry-after, text or none")),
    }
}

pub(crate) fn charging(text: &str) -> Result<Charging, String> {
    match text {
        "larger" => Ok(Charging::Larger),
        "sum" => Ok(Charging::Sum),
        "produced" => Ok(Charging::Produced),
        "corrected" => Ok(Charging::Corrected),
        _ => Err(format!("unknown charging `{text}`: write larger, sum, produced or corrected")),
    }
}

pub(crate) fn counts(text: &str) -> Result<RangeInclusive<usize>, String> {
    bounds(text, |count: &usize| *count > 0)
}

pub(crate) fn factors(text: &str) -> Result<RangeInclusive<f64>, String> {
    bounds(text, |factor: &f64| (0.01..=100.0).contains(factor))
}

/// One number, or two with `..` between.
fn bounds<T>(text: &str, sound: impl Fn(&T) -> bool) -> Result<RangeInclusive<T>, String>
where
    T: FromStr + PartialOrd,
{
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.parse().ok().filter(&sound).ok_or(format!("`{text}` is out of range"));
    let bounds = number(from)?..=number(to)?;
    if bounds.is_empty() {
        Err(format!("`{text}` is empty"))
    } else {
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_values_are_parsed() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(fault("503@2s=0.5"), Ok((Fault::UnavailableFor(Duration::from_secs(2)), 0.5)));
        assert_eq!(fault("late-stream-error=1"), Ok((Fault::LateStreamError, 1.0)));
        for fault in Fault::each(Duration::from_secs(2)) {
            let name = fault.name();
            let both = [kind_of_fault(name), kind_of_fault(&format!("{name}@2s"))];
            assert!(both.contains(&Ok(fault)), "{both:?}");
        }
        assert_eq!(latency("50ms"), Ok(Latency::constant(Duration::from_millis(50))));
        assert_eq!(latency("1s~0.5"), Ok(Latency::lognormal(Duration::from_secs(1), 0.5)));
        assert_eq!((counts("8..200"), factors("2")), (Ok(8..=200), Ok(2.0..=2.0)));
        assert_eq!(charging("corrected"), Ok(Charging::Corrected));
        let minute = Duration::from_secs(60);
        assert_eq!(outage("1m..2m=hang"), Ok((minute..minute * 2, Outage::Hang)));
        assert_eq!(outage("1m..2m=refuse"), Ok((minute..minute * 2, Outage::Refuse)));
        let throttled = Fault::ThrottledFor(Duration::from_secs(2));
        assert_eq!(brownout("1m..2m=429@2s=0.3"), Ok((minute..minute * 2, throttled, 0.3)));
        assert_eq!((per_window("9/1m"), limit_from("1m=9")), (Ok((9, minute)), Ok((minute, 9))));
        assert_eq!(when_full("429@1m"), Ok(WhenFull::ThrottledFor(minute)));
    }

    #[test]
    fn invalid_values_are_refused() {
        for text in ["", "5", "s", "-1s", "infs", "1h", "1e999s", "ñs"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in [
            "",
            "503",
            "503=2",
            "503=NaN",
            "504=0.1",
            "hang@1s=0.1",
            "slow-head=0.1",
            "only-pings=0.1",
            "stall@1s=0.1",
        ] {
            assert!(fault(text).is_err(), "{text}");
        }
        for text in ["1s", "2s..1s", "1s..2s=no"] {
            assert!(outage(text).is_err(), "{text}");
        }
        for text in ["", "1s..2s", "1s..2s=503", "503=0.1"] {
            assert!(brownout(text).is_err(), "{text}");
        }
        for text in ["", "9", "9/", "/1s", "x/1s", "1s=x", "1s", "=9"] {
            assert!(per_window(text).is_err() && limit_from(text).is_err(), "{text}");
        }
        for text in ["", "503", "overloaded@1s", "429@"] {
            assert!(when_full(text).is_err(), "{text}");
        }
        assert!(latency("1s~x").is_err());
        assert!(hints("some").is_err());
        assert!(charging("all").is_err());
        for text in ["", "0", "9..8", "..", "1..x"] {
            assert!(counts(text).is_err() && factors(text).is_err(), "{text}");
        }
        assert!(factors("NaN").is_err() && factors("0.5..inf").is_err());
    }
}
