//! Where a cluster is, and what is printed of it.

use clap::Args as ClapArgs;

use super::OutputArg;

/// Where a cluster is.
#[derive(Clone, Debug, ClapArgs)]
pub struct ClusterArgs {
    /// A coordinator's address, or several: whichever answers says who leads
    #[arg(
        long,
        global = true,
        env = "STOKE_COORDINATOR",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7400"
    )]
    pub coordinator: Vec<String>,
}

/// Where a cluster is, and how its answer is printed.
#[derive(Clone, Debug, ClapArgs)]
pub struct OutputArgs {
    /// Where the cluster is.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What is printed on standard output
    #[arg(long, global = true, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
}
