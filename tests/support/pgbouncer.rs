//! A PgBouncer before a PostgreSQL (Debian: `pgbouncer`), in a folder of its own.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::postgres::{as_other, other_account};
use super::server::free_port;
use super::skip;

/// A running one; it ends when dropped.
pub struct PgBouncer {
    /// Where it listens, on the loopback.
    pub port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    /// One with this `pool_mode`, before the database `idpsyncd` of the server at this port. `None` where it is
    /// not installed (and says so).
    pub fn before(server: u16, mode: &str) -> Option<PgBouncer> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let Some(program) = program.iter().find(|path| std::fs::exists(path).unwrap()) else {
            skip::skip(&skip::test(), "PgBouncer is not installed (Debian: pgbouncer)");
            return None;
        };
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let (users, config) = (folder.path().join("users"), folder.path().join("pgbouncer.ini"));
        std::fs::write(&users, "\"idpsyncd\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\nidpsyncd = host=127.0.0.1 port={server} dbname=idpsyncd\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\n\
             auth_file = {}\npool_mode = {mode}\nunix_socket_dir =\n",
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        if let Some((uid, gid)) = other_account() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let bouncer = as_other(program.as_ref());
        let child = Command::new(bouncer.get_program())
            .args(bouncer.get_args())
            .arg(&config)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut bouncer = PgBouncer { port, child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(bouncer.child.try_wait().unwrap().is_none(), "PgBouncer ended");
            assert!(Instant::now() < deadline, "PgBouncer does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(bouncer)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
