//! The tables, in Markdown: medians over the rounds.

use std::{fmt::Write, time::Duration};

use crate::{
    load::Pattern,
    measure::{IDLE_CORES, Measured, Round},
    plan::{Measurement, Plan},
    process,
    samples::median,
    system::Kind,
    upstream::Shape,
};

/// One line for who waits for the tables.
pub(crate) fn progress(measurement: &Measurement, kind: Kind, round: &Round) -> String {
    let cpu = round.cpu_us.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}"));
    format!(
        "{:?} {:?}, {kind}: {:.0} calls/s, {cpu} us CPU/call, p50 {} us, p99 {} us, {:.2} cores \
         of others",
        measurement.shape,
        measurement.pattern,
        round.calls_per_s,
        round.p50.as_micros(),
        round.p99.as_micros(),
        round.foreign_cores,
    )
}

/// All tables.
pub(crate) fn tables(plan: &Plan, all: &[Measured]) -> String {
    let mut out = String::new();
    let (rounds, seconds) = (plan.rounds, plan.length.as_secs_f64());
    let _ = writeln!(
        out,
        "# What it costs\n\n`cargo run --release -p bench` on {}: medians of {rounds} interleaved \
         round(s) of {seconds} s each.\n\n\
         The provider, the receivers and the load are threads of the one program, so they share \
         the cores with what is measured: read CPU first. *CPU* is user and system time of the \
         system's own processes from the first call until everything that the calls caused \
         (journal, deliveries) is done, a call. *Others* is how many cores other programs kept \
         busy meanwhile; above {IDLE_CORES} the times say little, so such a round is tried again up \
         to {} times, and the quietest counts.\n",
        process::machine(),
        plan.retries,
    );
    calls(&mut out, "Plain calls (736 B answers)", all, Shape::Plain);
    calls(&mut out, "Streams (33 events, 9.4 KB, all there at once)", all, Shape::Stream);
    calls(&mut out, "Paced streams (first event at once, four more each 2 ms)", all, Shape::Paced);
    calls(&mut out, "51 KB prompts", all, Shape::Long);
    deliveries(&mut out, all);
    footprint(&mut out, all);
    aims(&mut out, all);
    out
}

fn calls(out: &mut String, title: &str, all: &[Measured], shape: Shape) {
    let of_shape: Vec<&Measured> = all.iter().filter(|m| m.measurement.shape == shape).collect();
    if of_shape.is_empty() {
        return;
    }
    let (head, rule) = if shape.is_stream() {
        (" first byte p50 | added | p99 | added | events lost |", "--:|--:|--:|--:|--:|")
    } else {
        ("", "")
    };
    let _ = writeln!(
        out,
        "## {title}\n\nTimes in µs; *added*: more than direct.\n\n\
         | load | system | calls/s | CPU | x nginx | p50 | added | p99 | added |{head} errors | \
         others |\n|---|---|--:|--:|--:|--:|--:|--:|--:|{rule}--:|--:|"
    );
    for measured in of_shape {
        for kind in measured.rounds.keys() {
            row(out, measured, *kind);
        }
    }
    out.push('\n');
}

fn row(out: &mut String, measured: &Measured, kind: Kind) {
    let Some(rounds) = measured.rounds.get(&kind) else { return };
    let of = |value: fn(&Round) -> Duration| micros(measured, kind, value);
    let added = |value: fn(&Round) -> Duration| {
        let direct = micros(measured, Kind::Direct, value);
        if kind == Kind::Direct { f64::NAN } else { micros(measured, kind, value) - direct }
    };
    let cpu = cpu(measured, kind);
    let numbers = [
        number(median(rounds.iter().map(|round| round.calls_per_s)), 0),
        number(cpu, 1),
        number(cpu / self::cpu(measured, Kind::Nginx), 1),
        number(of(|round| round.p50), 0),
        number(added(|round| round.p50), 0),
        number(of(|round| round.p99), 0),
        number(added(|round| round.p99), 0),
    ];
    let stream = [
        number(of(|round| round.first_p50), 0),
        number(added(|round| round.first_p50), 0),
        number(of(|round| round.first_p99), 0),
        number(added(|round| round.first_p99), 0),
        rounds.iter().filter_map(|round| round.events_lost).sum::<i64>().to_string(),
    ];
    let end = [
        rounds.iter().map(|round| round.errors).sum::<usize>().to_string(),
        number(median(rounds.iter().map(|round| round.foreign_cores)), 2),
    ];
    let stream = if measured.measurement.shape.is_stream() { &stream[..] } else { &[] };
    let cells = [&numbers[..], stream, &end].concat().join(" | ");
    let _ = writeln!(out, "| {} | {kind} | {cells} |", load(measured.measurement.pattern));
}

fn deliveries(out: &mut String, all: &[Measured]) {
    let mut rows = String::new();
    for measured in all {
        for (kind, rounds) in &measured.rounds {
            let delivered: Vec<_> =
                rounds.iter().filter_map(|round| round.delivered.as_ref()).collect();
            if delivered.is_empty() {
                continue;
            }
            let of = |value: fn(&crate::measure::Delivered) -> f64| {
                median(delivered.iter().map(|delivered| value(delivered)))
            };
            let shape = format!("{:?}", measured.measurement.shape).to_lowercase();
            let _ = writeln!(
                rows,
                "| {shape}, {} | {kind} | {} | {} | {} | {} | {} | {} | {} |",
                load(measured.measurement.pattern),
                rounds.iter().map(|round| round.calls).sum::<usize>(),
                number(of(|d| d.per_s), 0),
                number(delivery_cpu(measured, *kind), 1),
                number(of(|d| d.p50.as_secs_f64() * 1e3), 1),
                number(of(|d| d.p99.as_secs_f64() * 1e3), 1),
                delivered.iter().map(|d| d.missing).sum::<usize>(),
                delivered.iter().map(|d| d.repeated).sum::<usize>(),
            );
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(
            out,
            "## Deliveries\n\n*CPU* in µs an event: what the same calls cost less without a \
             destination. *Accept to delivered* in ms, from the call's start; a batch waits up to \
             1 s to fill, and a closed load runs ahead of its deliveries.\n\n\
             | load | system | calls | events/s | CPU | accept to delivered p50 | p99 | missing | \
             twice |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n{rows}"
        );
    }
}

fn footprint(out: &mut String, all: &[Measured]) {
    let mut rows = String::new();
    for measured in all {
        for (kind, rounds) in &measured.rounds {
            let rss = median(rounds.iter().filter_map(|r| r.rss_bytes).map(|rss| rss as f64 / 1e6));
            let data = median(rounds.iter().filter_map(|round| round.data_bytes_per_call));
            if rss.is_nan() {
                continue;
            }
            let shape = format!("{:?}", measured.measurement.shape).to_lowercase();
            let load = load(measured.measurement.pattern);
            let (rss, data) = (number(rss, 1), number(data, 0));
            let _ = writeln!(rows, "| {shape}, {load} | {kind} | {rss} | {data} |");
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(
            out,
            "## Footprint\n\n*Journal*: growth of the data directory on disk, a call. The systems \
             run through, so memory is that after all rounds before.\n\n\
             | after | system | RSS MB | journal B |\n|---|---|--:|--:|\n{rows}"
        );
    }
}

/// What the project aims at, and what this run shows of it.
fn aims(out: &mut String, all: &[Measured]) {
    let find = |shape, pattern| {
        all.iter().find(|m| m.measurement.shape == shape && m.measurement.pattern == pattern)
    };
    let cpu_of = |shape| {
        find(shape, Pattern::Closed(16)).map_or(f64::NAN, |measured| cpu(measured, Kind::Hookgate))
    };
    let ratio_of = |shape| {
        find(shape, Pattern::Closed(16))
            .map_or(f64::NAN, |measured| cpu(measured, Kind::Hookgate) / cpu(measured, Kind::Nginx))
    };
    let over_nginx = find(Shape::Plain, Pattern::Closed(1)).map_or(f64::NAN, |measured| {
        micros(measured, Kind::Hookgate, |r| r.p50) - micros(measured, Kind::Nginx, |r| r.p50)
    });
    let delivery = find(Shape::Plain, Pattern::Closed(16))
        .map_or(f64::NAN, |measured| delivery_cpu(measured, Kind::HookgateEach));
    let wait = find(Shape::Plain, Pattern::Open(crate::plan::OPEN_RATE)).map_or(f64::NAN, |m| {
        let rounds = m.rounds.get(&Kind::HookgateEach).into_iter().flatten();
        let waits = rounds.filter_map(|round| round.delivered.as_ref());
        median(waits.map(|delivered| delivered.p99.as_secs_f64() * 1e3))
    });
    // The ratios are those of the aims in µs to nginx's 26, 42 and 47 on the machine that the aims
    // were set on; they alone say something on another one.
    let aims = [
        ("plain call, 16 callers, delivered in batches: CPU µs", 80.0, cpu_of(Shape::Plain)),
        ("the same, x nginx", 3.0, ratio_of(Shape::Plain)),
        ("stream of 33 events, 16 callers: CPU µs", 130.0, cpu_of(Shape::Stream)),
        ("the same, x nginx", 3.1, ratio_of(Shape::Stream)),
        ("51 KB prompt, 16 callers: CPU µs", 120.0, cpu_of(Shape::Long)),
        ("the same, x nginx", 2.6, ratio_of(Shape::Long)),
        ("p50 over nginx's, 1 caller: µs", 100.0, over_nginx),
        ("unbatched delivery: CPU µs", 100.0, delivery),
        ("accept to delivered, unbatched, open load: p99 ms", 20.0, wait),
    ];
    let measured = aims.iter().filter(|(_, _, reached)| !reached.is_nan());
    let rows = measured.map(|(what, aim, reached)| {
        let verdict = if reached <= aim { "reached" } else { "missed" };
        format!("| {what} | {aim} | {} | {verdict} |\n", number(*reached, 1))
    });
    let rows: String = rows.collect();
    if !rows.is_empty() {
        let _ = write!(out, "## Aims\n\n| what | aim | here | |\n|---|--:|--:|---|\n{rows}");
    }
}

/// CPU µs a call, median; `NaN` if there is none.
fn cpu(measured: &Measured, kind: Kind) -> f64 {
    let rounds = measured.rounds.get(&kind).into_iter().flatten();
    median(rounds.filter_map(|round| round.cpu_us))
}

/// CPU µs of an event's way to its receiver.
fn delivery_cpu(measured: &Measured, kind: Kind) -> f64 {
    cpu(measured, kind) - cpu(measured, Kind::HookgateNone)
}

fn micros(measured: &Measured, kind: Kind, value: fn(&Round) -> Duration) -> f64 {
    let rounds = measured.rounds.get(&kind).into_iter().flatten();
    median(rounds.map(|round| value(round).as_secs_f64() * 1e6))
}

fn load(pattern: Pattern) -> String {
    match pattern {
        Pattern::Closed(1) => "1 caller".to_owned(),
        Pattern::Closed(callers) => format!("{callers} callers"),
        Pattern::Open(rate) => format!("{rate}/s"),
    }
}

/// With thousands apart; a dash for what was not measured.
fn number(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (1_234_567.8, 0, "1,234,568"),
            (999.94, 1, "999.9"),
            (-1500.0, 0, "-1,500"),
            (0.0, 2, "0.00"),
        ];
        for (value, decimals, text) in cases {
            assert_eq!(number(value, decimals), text);
        }
        assert_eq!(number(f64::NAN, 0), "–");
    }

    #[test]
    fn a_table_shows_medians_ratios_and_what_was_added() {
        let round = |us: u64, cpu_us: Option<f64>| Round {
            calls_per_s: 1_000.0,
            cpu_us,
            p50: Duration::from_micros(us),
            p99: Duration::from_micros(2 * us),
            ..Round::default()
        };
        let kinds = vec![Kind::Direct, Kind::Nginx, Kind::Hookgate];
        let rounds = BTreeMap::from([
            (Kind::Direct, vec![round(90, None), round(110, None)]),
            (Kind::Nginx, vec![round(150, Some(25.0))]),
            (Kind::Hookgate, vec![round(200, Some(70.0)), round(300, Some(80.0))]),
        ]);
        let measurement = Measurement { shape: Shape::Plain, pattern: Pattern::Closed(16), kinds };
        let plan = Plan {
            measurements: vec![measurement.clone()],
            rounds: 2,
            length: Duration::from_secs(1),
            patience: Duration::ZERO,
            retries: 0,
        };
        let tables = tables(&plan, &[Measured { measurement, rounds }]);
        let has = |line: &str| assert!(tables.contains(line), "{line}\n{tables}");
        has("| 16 callers | hookgate, batched | 1,000 | 75.0 | 3.0 | 250 | 150 | 500 | 300 | 0 |");
        has("| plain call, 16 callers, delivered in batches: CPU µs | 80 | 75.0 | reached |");
        assert!(!tables.contains("| 51 KB prompt"), "it was not measured\n{tables}");
    }
}
