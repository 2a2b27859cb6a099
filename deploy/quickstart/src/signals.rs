//! Ctrl-C and SIGTERM: everything stops, also what was to be kept, whatever is just going on.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::folder::Folder;

/// What a shell says of a process that a signal ended: 128 and the signal's number.
const ENDED_BY_INTERRUPT: u8 = 130;
const ENDED_BY_TERMINATE: u8 = 143;

/// From now on, a signal ends this process and all servers.
///
/// The process becomes the script that stops: so no server can be started any more while the others are being stopped, and
/// who waits for this process waits until all are gone.
pub(crate) fn stop_everything_on_a_signal(runtime: &Runtime, folder: &Folder) -> Result<()> {
    let (mut on_interrupt, mut on_terminate) = (
        folder.stop(ENDED_BY_INTERRUPT),
        folder.stop(ENDED_BY_TERMINATE),
    );
    let _guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    runtime.spawn(async move {
        let stop = tokio::select! {
            _ = interrupt.recv() => &mut on_interrupt,
            _ = terminate.recv() => &mut on_terminate,
        };
        eprintln!("\nstopping everything");
        let error = stop.exec();
        // Only where there is no `sh`. Servers that are not to be kept end with this process.
        eprintln!("running the script that stops everything: {error}");
        std::process::exit(1);
    });
    Ok(())
}
