//! Who reaches what in the clouds.

use crate::store::sql::db::Conn;

use super::codec::COUNTS;
use super::error::{Fault, StoreError};
use super::load::workload_identity;
use super::reader::Reads;
use crate::model::WorkloadIdentity;
use crate::store::ReachedBy;

/// The rows of `gateway_workload_identity` with the role that allows each, of those who count.
const REACHED: &str = "SELECT u.username, q.action, r.name, w.pool, w.platform, w.namespace, w.service_account, \
            w.cloud, w.identity, w.why \
       FROM workload w \
       JOIN request q ON q.resource = 'pool/' || w.pool \
                     AND q.action IN ('workflow:Create', 'workflow:Exec') \
       JOIN decision d ON d.request = q.num AND d.allow = 1 \
       JOIN role r ON r.num = d.role \
       JOIN role_set s ON s.list = d.list \
       JOIN user u ON u.role_set = s.num \
      WHERE (w.identity = ?1 OR w.identity IS NULL) \
        AND (d.whose = 0 OR (d.whose = 2) = (w.pool = u.username)) AND ";

impl dyn Reads + '_ {
    /// Who reaches `identity` (compared exactly), and who reaches what is unknown and so may be it.
    /// Sorted.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn reached_by(&self, identity: &str) -> Result<Vec<ReachedBy>, StoreError> {
        self.read_as(|conn| reached_by(conn, identity))
    }

    /// Who pools' pods are in the clouds. Sorted.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn workload(&self) -> Result<Vec<WorkloadIdentity>, StoreError> {
        self.read_as(super::load::workload)
    }
}

fn reached_by(conn: Conn<'_>, identity: &str) -> Result<Vec<ReachedBy>, Fault> {
    let mut statement = conn.prepare(&format!("{REACHED}{COUNTS}"))?;
    let mut rows = statement.query([identity])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(ReachedBy {
            user: row.get(0)?,
            via_action: row.get(1)?,
            role: row.get(2)?,
            row: workload_identity(row, 3)?,
        });
    }
    out.sort();
    Ok(out)
}
