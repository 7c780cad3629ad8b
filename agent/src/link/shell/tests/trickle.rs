//! A peer, or something on the way, that lets a message come in so slowly that it never ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

/// Passes bytes on. From [`Relay::trickle`] on, those for the agent come one by one on the connections that stand then.
struct Relay {
    port: u16,
    opened: watch::Receiver<usize>,
    trickles: watch::Sender<usize>,
    trickled: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Relay {
    async fn before(plane: &str) -> Self {
        let target = plane.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (count, opened) = watch::channel(0);
        let trickles = watch::Sender::new(0);
        let trickled = Arc::new(AtomicUsize::new(0));
        let (until, bytes) = (trickles.subscribe(), Arc::clone(&trickled));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((agent, _)) = listener.accept().await {
                let number = *count.borrow() + 1;
                count.send_replace(number);
                let plane = TcpStream::connect(&target).await.unwrap();
                pairs.spawn(pass(agent, plane, number, until.clone(), Arc::clone(&bytes)));
            }
        });
        Self { port, opened, trickles, trickled, tasks }
    }

    fn trickle(&self) {
        self.trickles.send_replace(*self.opened.borrow());
    }
}

async fn pass(
    agent: TcpStream,
    plane: TcpStream,
    number: usize,
    until: watch::Receiver<usize>,
    trickled: Arc<AtomicUsize>,
) {
    let ((mut from_agent, mut to_agent), (mut from_plane, mut to_plane)) = (agent.into_split(), plane.into_split());
    let up = async { tokio::io::copy(&mut from_agent, &mut to_plane).await.map(drop) };
    let down = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from_plane.read(&mut buffer).await?;
            if read == 0 {
                return to_agent.shutdown().await;
            }
            if number > *until.borrow() {
                to_agent.write_all(&buffer[..read]).await?;
                continue;
            }
            for byte in &buffer[..read] {
                to_agent.write_all(&[*byte]).await?;
                trickled.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let _over: Result<_, std::io::Error> = tokio::try_join!(up, down);
}

#[tokio::test]
async fn a_message_that_trickles_in_for_ever_counts_as_silence() {
    let (plane, api, mut agent) = pair(Config::default()).await;
    let relay = Relay::before(&plane.url()).await;
    let host = plane.url();
    let host = host.trim_start_matches("https://").split(':').next().unwrap();
    agent.url = format!("https://{host}:{}", relay.port).parse().unwrap();
    let running = agent.run();
    agent.until_connected().await;
    let before = *relay.opened.borrow();
    relay.trickle();
    // Some 2,000 bytes, so it would take minutes, and every pong comes behind it.
    api.deploy("web").await;
    agent.release("web").await;
    assert!(*relay.opened.borrow() > before, "it came over the connection that trickles");
    let trickled = relay.trickled.load(Ordering::Relaxed);
    assert!(trickled > 50, "only {trickled} bytes came while it waited");
    running.stop().await;
    drop(relay.tasks);
    plane.shutdown().await;
}
