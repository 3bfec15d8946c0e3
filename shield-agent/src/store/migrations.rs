//! The schema, as the steps that lead to it; a step that was released never changes.

use sqlx::SqlSafeStr as _;
use sqlx::SqliteConnection;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::{Place, StoreError};

/// Each step: its number, what it brings, and its SQL.
const STEPS: [(i64, &str, &str); 2] = [
    (1, "journal and holds", include_str!("../../migrations/0001_journal_and_holds.sql")),
    (2, "sessions", include_str!("../../migrations/0002_sessions.sql")),
];

/// Brings the schema up to date; refuses one that is ahead of us.
pub(super) async fn run(connection: &mut SqliteConnection, place: &Place) -> Result<(), StoreError> {
    let steps = STEPS.iter().map(|&(version, what, sql)| {
        Migration::new(version, what.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(steps.collect()).run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => StoreError::Newer { path: place.path().to_owned(), version },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::of(place, "upgrade", error)
        }
        other => StoreError::of(place, "upgrade", sqlx::Error::Migrate(Box::new(other))),
    })
}
