//! `scripts/freeze-check` on histories of its own: what it demands of a commit, and what it leaves alone.
//!
//! The compiler is played by a script that looks whether the tree has the frozen source as it is after the commit: the
//! rule is tested here, not the compiler.

use std::path::Path;
use std::process::Command;

/// A repository with one rule, frozen.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Self { folder };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/freeze-check");
        repository.write("scripts/freeze-check", &std::fs::read_to_string(script).unwrap());
        repository.write("src/decide/rule.rs", "old rule\n");
        repository.write("src/decide/tests/rule.rs", "old test\n");
        repository
            .write("migrations/0001_catalog.sql", "create table t (n int constraint chk_n check (n > 0));\n");
        repository.write("tests/histories/1.history", "ask\n");
        // Red as long as the rule is the old one; knows one test by name, and the replay of histories.
        repository.write(
            "compiler",
            "#!/bin/sh
             for test; do :; done
             case $test in
                 --no-run) grep -q broken src/decide/rule.rs && exit 101; exit 0 ;;
                 the_new_rule|histories_replay) echo 'running 1 test' ;;
                 *) echo 'running 0 tests'; exit 0 ;;
             esac
             [ $test = histories_replay ] && exit 0
             grep -q new src/decide/rule.rs && exit 0
             echo 'test result: FAILED'; exit 101
            ",
        );
        repository.git(&["init", "--quiet"]);
        repository.git(&["config", "user.name", "somebody"]);
        repository.git(&["config", "user.email", "somebody@example.org"]);
        repository.commit("The start");
        let base = repository.git(&["rev-parse", "HEAD"]);
        repository.write("HARDENING.md", &format!("Frozen since commit `{}`: all of it\n", base.trim()));
        repository.commit("Declared");
        repository
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let done = Command::new("git").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A", ":!target"]);
        self.git(&["commit", "--quiet", "-m", message]);
    }

    /// The exit code, and all that was said.
    fn check(&self) -> (i32, String) {
        let done = Command::new("python3")
            .arg("scripts/freeze-check")
            .env("FREEZE_CARGO", self.compiler())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
        (done.status.code().unwrap(), said.into_owned())
    }

    fn compiler(&self) -> String {
        // Run by a shell, so that no file that was just written has to be executed itself.
        let starter = self.folder.path().join("target/starter");
        if !starter.exists() {
            self.write("target/starter", "#!/bin/sh\nexec sh compiler \"$@\"\n");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&starter, mode).unwrap();
        }
        starter.to_string_lossy().into_owned()
    }
}

#[test]
fn a_change_of_a_rule_has_to_name_a_test_that_is_red_without_it() {
    let repository = Repository::new();
    assert_eq!(repository.check().0, 0);

    repository.write("src/decide/rule.rs", "new rule\n");
    repository.commit("A new rule\n\nFreeze-Test: the_new_rule");
    let (code, said) = repository.check();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the_new_rule: red without the change"), "{said}");
    assert!(said.contains("the_new_rule: green with the change"), "{said}");

    // The rule is new already: the test is green without this commit.
    repository.write("src/decide/rule.rs", "new rule, another way\n");
    repository.commit("Another way\n\nFreeze-Test: the_new_rule");
    let (code, said) = repository.check();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the_new_rule: GREEN without the change"), "{said}");
}

#[test]
fn a_change_that_names_nothing_or_nothing_that_is_there_is_refused() {
    for (message, said_of_it) in [
        ("Quietly", "the message does not say what holds it"),
        ("A new rule\n\nFreeze-Test: the_other_rule", "the_other_rule: NO SUCH TEST"),
    ] {
        let repository = Repository::new();
        repository.write("src/decide/rule.rs", "new rule\n");
        repository.commit(message);
        let (code, said) = repository.check();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(said_of_it), "{said}");
    }
}

#[test]
fn a_test_that_does_not_compile_without_the_change_proves_nothing() {
    let repository = Repository::new();
    repository.write("src/decide/rule.rs", "broken\n");
    repository.commit("Broken\n\nFreeze: refactoring");
    repository.write("src/decide/rule.rs", "new rule\n");
    repository.commit("A new rule\n\nFreeze-Test: the_new_rule");
    let (code, said) = repository.check();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not compile"), "{said}");
}

#[test]
fn a_refactoring_replays_the_histories_and_leaves_them_alone() {
    let repository = Repository::new();
    repository.write("src/decide/rule.rs", "old rule, tidier\n");
    repository.commit("Tidier\n\nFreeze: refactoring");
    let (code, said) = repository.check();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("histories_replay: green with the change"), "{said}");

    repository.write("src/decide/rule.rs", "old rule, more so\n");
    repository.write("tests/histories/1.history", "ask something else\n");
    repository.commit("More so\n\nFreeze: refactoring");
    let (code, said) = repository.check();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("CHANGES RECORDED HISTORIES"), "{said}");
}

#[test]
fn guards_in_migrations_are_frozen_and_new_tables_and_tests_are_not() {
    let repository = Repository::new();
    repository.write("src/decide/tests/rule.rs", "another test\n");
    repository.write("migrations/0002_more.sql", "create table u (n int constraint chk_u check (n > 0));\n");
    repository.commit("A test, and a table of its own");
    let (code, said) = repository.check();
    assert_eq!(code, 0, "{said}");

    for (file, text) in [
        ("migrations/0001_catalog.sql", "create table t (n int);\n"),
        ("migrations/0003_less.sql", "alter table t drop constraint chk_n;\n"),
        ("migrations/0003_less.sql", "alter table t disable trigger all;\n"),
    ] {
        let repository = Repository::new();
        repository.write(file, text);
        repository.commit("Less of a guard");
        let (code, said) = repository.check();
        assert_eq!(code, 1, "{text}: {said}");
        assert!(said.contains(file), "{said}");
    }
}

#[test]
fn a_history_without_the_declaration_cannot_be_checked() {
    let repository = Repository::new();
    repository.write("HARDENING.md", "Frozen since commit `0123456789abcdef`: all of it\n");
    repository.commit("Declared wrongly");
    let (code, said) = repository.check();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is not in this history"), "{said}");
}
