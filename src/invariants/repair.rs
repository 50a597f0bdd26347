//! How a guard is put right: the statements that the SELECT gives, in the order in which they can be run, and the functions,
//! which only the migrations know.

use super::guards::Trouble;
use crate::postgres::MIGRATOR;

/// Gives functions the statements that make them, and brings everything into the order in which it is put right.
pub(super) fn complete(troubles: &mut [Trouble]) {
    for trouble in troubles.iter_mut().filter(|trouble| trouble.what == "function") {
        let name = trouble.name.split('(').next().unwrap_or_default();
        trouble.repair = function(name, trouble.found.is_none());
    }
    troubles.sort_by_key(rank);
}

/// What others rest on comes first, and before that what is in their way.
fn rank(trouble: &Trouble) -> u8 {
    let Some(expected) = &trouble.expected else { return 0 };
    match trouble.what.as_str() {
        "setting" => 0,
        "extension" => 1,
        "table" => 2,
        "sequence" => 3,
        "column" => 4,
        "function" => 5,
        "index" => 6,
        "constraint" if !expected.starts_with("FOREIGN KEY") => 7,
        "constraint" => 8,
        _ => 9,
    }
}

/// The function as the migrations made it last and with what they set for it since, and who may call it when it is made anew:
/// everybody, unless they say otherwise.
fn function(name: &str, is_missing: bool) -> Vec<String> {
    let heads = [
        format!("create function seatkeeper.{name}("),
        format!("create or replace function seatkeeper.{name}("),
    ];
    let altered = format!("alter function seatkeeper.{name}(");
    let mut made = Vec::new();
    let mut is_kept = false;
    for migration in MIGRATOR.iter() {
        let sql = migration.sql.as_str();
        let begin = heads.iter().filter_map(|head| sql.rfind(head.as_str()).map(|at| (at, head))).max();
        let mut rest = sql;
        if let Some((begin, head)) = begin {
            rest = &sql[begin + head.len()..];
            let end = rest.find("$$;").map_or(rest.len(), |end| end + 2);
            made = vec![format!("create or replace function seatkeeper.{name}({}", &rest[..end])];
            rest = &rest[end..];
        }
        for (at, _) in rest.match_indices(altered.as_str()) {
            let end = rest[at..].find(';').unwrap_or(rest.len() - at);
            made.push(rest[at..at + end].to_owned());
        }
        is_kept |= sql
            .split("revoke all on function ")
            .skip(1)
            .filter_map(|revoked| revoked.split(" from public").next())
            .any(|revoked| {
                revoked.split(',').any(|each| each.trim().strip_prefix("seatkeeper.") == Some(name))
            });
    }
    let kept =
        (is_missing && is_kept).then(|| format!("revoke all on function seatkeeper.{name} from public"));
    made.extend(kept);
    made
}

#[cfg(test)]
mod tests {
    use super::super::guards::manifest;
    use super::function;

    #[test]
    fn every_function_is_found_in_the_migrations() {
        let functions: Vec<_> = manifest().into_iter().filter(|guard| guard.what == "function").collect();
        assert!(functions.len() > 20);
        for guard in functions {
            let (name, _) = guard.name.split_once('(').unwrap();
            let made = function(name, true);
            assert!(made[0].ends_with("$$") && made[0].matches("$$").count() == 2, "{name}: {made:#?}");
            if guard.definition.contains("security definer") {
                assert_eq!(
                    made.last(),
                    Some(&format!("revoke all on function seatkeeper.{name} from public"))
                );
            }
            for (setting, _) in guard.definition.split(", ").filter_map(|part| part.split_once('=')) {
                let is_set = made.iter().any(|sql| sql.contains(&format!("set {setting} = ")));
                assert!(is_set, "{name} has its {setting} again: {made:#?}");
            }
        }
    }
}
