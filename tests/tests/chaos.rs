//! The short form of chaos: some of everything is broken while work goes on, on a test cluster of its own.

use tests::chaos::plan::Form;
use tests::chaos::{Settings, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_done_twice_while_everything_breaks() {
    let name = std::env::var("PDP_TESTBED_NAME").unwrap_or_else(|_| "main".to_owned());
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let settings = Settings { name, form: Form::Short, seed, keep: false, only: None };
    if let Err(error) = run(&settings).await {
        panic!("{error:#}");
    }
}
