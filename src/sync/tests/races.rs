//! What a run and somebody who comes meanwhile do to one another: neither loses the other.

use super::*;

over_both! {
    a_run_that_began_to_read_before_someone_came_does_not_lose_them
    a_commit_that_races_with_a_newcomer_plans_and_writes_anew
}

fn a_run_that_began_to_read_before_someone_came_does_not_lose_them(over: Over) {
    let home = Home::over(over, &rules("all"));
    let company = small();
    let zero = person(0, &[], &[]);
    home.write("realm.json", &company.realm(std::slice::from_ref(&zero)));
    home.sync();
    let later = company.realm(&[zero.clone(), person(1, &[1], &[1])]);
    let answer = sighted(&home, &later, "u1");
    // A role that the run is to see changed, so that it has something to commit of its own.
    home.write("realm.json", &company.realm(&[zero, person(7, &[], &[5])]));
    let (config, store) = (home.config.clone(), Arc::clone(&home.store));
    let came: crate::sync::OnPhase = Arc::new(move |phase| {
        // Every source has been heard, nothing is planned yet.
        if phase == crate::sync::Phase::Planning {
            let answers = vec![answer.clone()];
            let done = plan_and_commit(&config, &*store, &caller("u1"), answers, now()).unwrap();
            provisioned(&done);
        }
    });
    let options =
        Options { dry_run: false, sources: None, what: "test".to_owned(), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    let ran =
        crate::sync::run_in_phases(&home.config, &*home.store, &options, &silent, &came, now());
    wait(ran).unwrap();
    let roles = home.roles();
    assert!(roles["u1"].contains("forced") && roles["u1"].contains("osmo-green"), "{roles:?}");
    assert!(roles.contains_key("u7"));
    let state = home.reader().state().unwrap();
    assert!(state.users.iter().all(|user| user.status == crate::model::Status::Enabled));
    let mirror = home.reader().mirror("realm").unwrap().unwrap();
    assert_eq!(mirror.digest, home.digest(&mirror), "the mirror is what its digest says");
    assert_eq!(mirror.mirror.directory.users.len(), 3);
    // The next run decides, and it knows nothing of u1.
    home.sync();
    let state = home.reader().state().unwrap();
    let missing =
        |user: &crate::model::User| matches!(user.status, crate::model::Status::Missing { .. });
    assert_eq!(state.users.iter().filter(|user| missing(user)).count(), 1);
}

fn a_commit_that_races_with_a_newcomer_plans_and_writes_anew(over: Over) {
    let home = Home::over(over, &rules("all"));
    let company = small();
    let zero = person(0, &[], &[]);
    home.write("realm.json", &company.realm(std::slice::from_ref(&zero)));
    home.sync();
    let answer = sighted(&home, &company.realm(&[zero.clone(), person(1, &[1], &[])]), "u1");
    home.write("realm.json", &company.realm(&[zero, person(7, &[], &[5])]));

    // Somebody comes between what the run has looked at and its commit, the first time. The second
    // time nobody can: the run has the writer's place then.
    let (config, store) = (home.config.clone(), Arc::clone(&home.store));
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let came: crate::sync::OnPhase = Arc::new(move |phase| {
        if phase == crate::sync::Phase::Committing && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            let answers = vec![answer.clone()];
            let done = plan_and_commit(&config, &*store, &caller("u1"), answers, now()).unwrap();
            provisioned(&done);
        }
    });
    let options =
        Options { dry_run: false, sources: None, what: "test".to_owned(), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    let ran =
        crate::sync::run_in_phases(&home.config, &*home.store, &options, &silent, &came, now());
    let outcome = wait(ran).unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 2, "planned anew");
    assert_eq!((outcome.before, outcome.generation), (2, 3), "over what the newcomer left");
    let roles = home.roles();
    assert!(roles["u1"].contains("forced") && roles.contains_key("u7"), "{roles:?}");
    let state = home.reader().state().unwrap();
    assert!(state.users.iter().all(|user| user.status == crate::model::Status::Enabled));
    let mirror = home.reader().mirror("realm").unwrap().unwrap();
    assert_eq!(mirror.digest, home.digest(&mirror), "the mirror is what its digest says");
    assert_eq!(mirror.mirror.directory.users.len(), 3);
}
