//! Reading a key source.

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;

use super::ask::ColumnsChanged;
use super::columns::Columns;
use super::plan::QueryError;
use super::{Engine, GRACE};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::permit::Stopped;
use crate::source::{Gathered, Rows, Rules, SourceFault, SourceRow, Whereabouts};

impl Engine {
    pub(in crate::origin) async fn rank(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        const DOING: &str = "run the key source's query";
        let permanent = |error: SourceFault| OriginError::permanent(DOING, error);
        // A connection of its own: its statement timeout is another one.
        let mut session = self.open(meter, self.source_timeout).await?;
        let plan = self.plan(meter, &mut session, query, DOING).await?;
        if plan.parameters > 0 {
            return Err(OriginError::permanent(
                DOING,
                QueryError::ParametersInSource,
            ));
        }
        let mut gathering = Rows::new(rules);
        gathering.columns(plan.columns.names()).map_err(permanent)?;
        let limit = self.source_timeout + GRACE;
        meter.pass(1).await?;
        let mut rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch(&mut session.connection);
        let mut number = 0;
        // Types that an expression has are certain only now.
        let mut columns: Option<Columns> = None;
        loop {
            meter.expect_row().await?;
            let row = match tokio::time::timeout(limit, rows.try_next()).await {
                Ok(Ok(Some(row))) => row,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(OriginError::from_driver(DOING, error)),
                Err(_) => return Err(OriginError::transient(DOING, NoAnswer(limit))),
            };
            number += 1;
            meter.count_expected_row();
            let columns = match &mut columns {
                Some(columns) => columns,
                none => {
                    let found = Columns::of_row(&row);
                    let found = found.map_err(|error| OriginError::permanent(DOING, error))?;
                    if found.names() != plan.columns.names() {
                        return Err(OriginError::transient(DOING, ColumnsChanged));
                    }
                    none.insert(found)
                }
            };
            let at = Whereabouts::Row(number);
            let values = (0..gathering.column_count())
                .map(|index| columns.text(&row, index).map_err(|fault| fault.to_string()))
                .collect();
            if let Some(full) = gathering.row(at, values).map_err(permanent)? {
                sink.send(full).await.map_err(|_| Stopped)?;
            }
        }
        drop(rows);
        session.leave();
        let (last, gathered) = gathering.finish();
        if let Some(last) = last {
            sink.send(last).await.map_err(|_| Stopped)?;
        }
        Ok(gathered)
    }
}
