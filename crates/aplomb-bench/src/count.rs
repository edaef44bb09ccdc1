//! Instructions, which repeat exactly: callgrind counts them.

use std::process::Command;

use aplomb_bench::Group;

/// Counts the instructions of a call in each case of `group`, and prints a table.
pub(crate) fn print(group: &Group, calls: u64) -> Result<(), String> {
    println!("\n{}: {}", group.name, group.about);
    println!("{:<24}{:>12}{:>12}", "instructions", "a call", "beyond bare");
    let mut bare = None;
    for case in group.cases {
        let path = format!("{}/{}", group.name, case.name);
        // The difference of two runs: what it takes to start cancels out.
        let more = counted(&path, 2 * calls)?.saturating_sub(counted(&path, calls)?);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = more as f64 / calls as f64;
        let beyond = each - *bare.get_or_insert(each);
        println!("{:<24}{each:>12.0}{beyond:>12.0}", case.name);
    }
    Ok(())
}

/// All instructions of a run that makes so many calls.
fn counted(path: &str, calls: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", path, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind is needed to count instructions: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let total = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    total.ok_or_else(|| format!("{path} under valgrind: {said}"))
}
