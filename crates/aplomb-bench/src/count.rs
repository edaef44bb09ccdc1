//! Instructions, counted by callgrind: they are repeatable.

use std::process::Command;

use aplomb_bench::{Group, Table};

/// The function that makes the measured calls, by its name in callgrind.
const MEASURED: &str = "aplomb_bench::calls::Running::batch";

/// Counts the instructions of a call in each case of `group`.
pub(crate) fn table(group: &Group, calls: u64) -> Result<Table, String> {
    let mut table = Table::new(&["instructions", "instructions beyond"]);
    let mut bare = None;
    for case in group.cases {
        let calls = case.renewed_after.unwrap_or(calls);
        let total = counted(&format!("{}/{}", group.name, case.name), calls)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = total as f64 / calls as f64;
        let beyond = each - *bare.get_or_insert(each);
        table.row(case.name, [format!("{each:.0}"), format!("{beyond:.0}")]);
    }
    Ok(table)
}

/// The instructions of `calls` calls, without the warm-up.
fn counted(path: &str, calls: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(program)
        .args(["run", path, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind is needed to count instructions: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let total = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    // Zero means that callgrind did not find the function.
    match total {
        Some(total) if total > 0 && output.status.success() => Ok(total),
        _ => Err(format!("{path} under valgrind: {said}")),
    }
}
