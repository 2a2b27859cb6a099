//! What to do with servers that were left running.

use crate::fleet::Fleet;
use crate::folder::Folder;
use crate::servers::Servers;
use crate::shop;
use crate::traffic::key_of;

/// Addresses, and commands to play with.
pub(crate) fn what_to_do_with(servers: &Servers, fleet: &Fleet, folder: &Folder) -> String {
    let etcd = servers.etcd.endpoint();
    let postgres = servers.postgres.url(shop::DATABASE);
    let nodes = servers.redis.urls().join(" ");
    let coordinator = fleet.address();
    let port = servers.redis.ports().first().copied().unwrap_or_default();
    let key = key_of(1);
    let logs: String = fleet
        .folders()
        .map(|(name, folder)| format!("  {name:<15} {}/log\n", folder.display()))
        .collect();
    let log = servers.postgres.log_path();
    let log = log.display();
    let stop = folder.stop_line();
    format!(
        "
All of it still runs:
  coordinator     {coordinator} (gRPC, stoke.v1)
  etcd            {etcd}
  PostgreSQL      {postgres}
  Redis Cluster   {nodes}
and logs to:
{logs}  PostgreSQL      {log}

Try:
  redis-cli -c -p {port} GET {key}
  psql {postgres} -c 'SELECT * FROM product_views ORDER BY views DESC LIMIT 10'
  etcdctl --endpoints {etcd} get --prefix /stoke/
  grep -F '[stoke]' {log} | less

Stop and remove everything:
  {stop}
"
    )
}
