//! `grant_credits`: moves a balance, up (a purchase) or down (an adjustment).

use seatkeeper_jobs::grant_credits::{Applied, BALANCE_LIMIT, GrantCredits};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};
use serde_json::json;

use super::{Answer, DecideError, Request, World};

pub(super) fn decide(
    world: &mut World,
    request: &Request,
    ask: &GrantCredits,
) -> Result<Answer, DecideError> {
    let Some(user) = world.user(ask.user_id)?.cloned() else {
        return Ok(Answer::refused(Reason::UserNotFound));
    };
    let amount = ask.amount.get();
    if amount < 0 && user.balance < -amount {
        let why = json!({ "balance": user.balance, "cost": -amount });
        return Ok(Answer::Refused(Reason::InsufficientCredits, Some(why)));
    }
    // Also where a hand has written more than that already.
    if amount > 0 && user.balance > BALANCE_LIMIT - amount {
        let why = json!({ "balance": user.balance, "limit": BALANCE_LIMIT });
        return Ok(Answer::Refused(Reason::BalanceLimit, Some(why)));
    }

    let balance = world.grant(ask.user_id, amount, request)?;
    Ok(Answer::Applied(AnyApplied::GrantCredits(Applied { balance })))
}
