//! `cargo xtask generate`.

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Writes nothing; fails when the committed files differ from what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("not written yet")
}
