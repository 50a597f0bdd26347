//! Order and fairness.

use seatkeeper_jobs::{enroll::Enroll, grant_credits::GrantCredits};
use uuid::Uuid;

use crate::support::TestDb;

#[tokio::test]
async fn smoke() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(2), 0).await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for (user, id) in ids.iter().enumerate() {
        let user_id = i64::try_from(user).unwrap() + 1;
        db.ask(*id, Enroll { user_id: user_id.try_into().unwrap(), semester_id: 1.try_into().unwrap() })
            .await;
    }
    db.drain().await;
    for id in ids {
        println!("{:?}", db.receipt(id).await);
    }
    db.assert_sound().await;
}
