//! What the policy of the egress attempts allows does work: they are not stopped by a wall that
//! stops everything.

use crate::places::{HELPED, PERMITTED, PORT, WELCOME};
use crate::stage::{Stage, User};

fn works(user: User) {
    let stage = Stage::new(user).with_world();
    let own = stage.path("workspace/attempt");
    let run = stage.run_under_policy(&own, &["--reach", &format!("{PERMITTED}:{PORT}")]);
    let welcome = format!("{} bytes without the token", WELCOME.len());
    assert!(run.output.contains(&welcome), "{run}");
    let other = stage.path("shared/program");
    let run = stage.run_under_policy(&other, &["--reach", &format!("{HELPED}:{PORT}")]);
    assert_eq!(run.code, 0, "{run}");
}

#[test]
fn what_the_policy_allows_works() {
    match crate::verdict::is_root() {
        true => works(User::Same),
        false => println!("skip: a network of our own takes root"),
    }
}

#[test]
fn what_the_policy_allows_works_unprivileged() {
    match crate::verdict::is_root() {
        true => works(User::Unprivileged),
        false => println!("skip: a network of our own takes root"),
    }
}
