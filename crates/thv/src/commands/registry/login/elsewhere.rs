//! Logging in with a browser that is somewhere else: a printed address, a code for another device, or the address that a
//! browser was sent back to, pasted here. Nothing is opened on this machine.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Read};
use std::time::Duration;

use thv_auth::AuthFailure;
use thv_auth::login::{DeviceUse, LoginDone, LoginHow, LoginMethod, Prompter, is_elsewhere};
use thv_config::world::World;
use tokio::sync::mpsc;

use super::Shown;
use crate::cli::LoginArgs;
use crate::failure::CommandError;
use crate::output::{NOTICE, Output};
use crate::wire_up::Catalogs;

/// The longest address that is read from standard input, in bytes; a redirect is a few hundred.
const MAX_ADDRESS: u64 = 64 * 1024;

/// Waits for the login, and gives up at the time limit or when the person interrupts; the port is free again then.
pub(super) async fn log_in(
    args: &LoginArgs,
    how: LoginHow,
    by: Prompter,
    shown: &Shown,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<LoginDone, CommandError> {
    let auth = &catalogs.auth;
    let how = LoginHow {
        device: if args.elsewhere.device {
            DeviceUse::Only
        } else {
            DeviceUse::Never
        },
        ..how
    };
    let view = auth.start_login(how, by).await?.view;
    let id = view.id.as_str();
    let reads = !args.elsewhere.device && (args.elsewhere.paste || std::io::stdin().is_terminal());
    output.remark(&words(&view.methods, shown, reads));
    let mut pasted = reads.then(self::lines);
    let limit = Duration::from_secs(args.timeout);
    let ended = async {
        match auth.watch_login(id) {
            Some(login) => login.outcome().await.map_err(AuthFailure::from),
            // It was started a moment ago, and is kept for longer than anybody waits.
            None => std::future::pending().await,
        }
    };
    tokio::pin!(ended);
    let deadline = world.clock.sleep(limit);
    tokio::pin!(deadline);
    let why = loop {
        let line = async {
            match &mut pasted {
                Some(lines) => lines.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = &mut ended => return Ok(done?),
            line = line => match line {
                None => pasted = None,
                Some(line) => if let Some(Err(why)) = auth.hand_over(id, &line) {
                    output.remark_styled(NOTICE, "Not taken", &why.to_string());
                },
            },
            () = &mut deadline => break CommandError::LoginTimedOut { limit },
            _ = tokio::signal::ctrl_c() => break CommandError::Interrupted,
        }
    };
    let given_up = super::give_up(why, ended, auth, output).await;
    match &given_up {
        Ok(_) => {}
        // Nobody came: it counts as a prompt that was not answered, and not as one that somebody took back.
        Err(CommandError::LoginTimedOut { .. }) => auth.cancel_logins().await,
        Err(_) => {
            auth.withdraw_login(id).await;
        }
    }
    given_up
}

/// What the person is to do.
fn words(methods: &[LoginMethod], shown: &Shown, reads: bool) -> String {
    let mut text = String::new();
    for method in methods {
        match method {
            LoginMethod::Browser { authorization_url } => {
                text.push_str(&shown.at(authorization_url.as_str()));
            }
            LoginMethod::Device {
                verification_uri,
                verification_uri_complete,
                user_code,
                ..
            } => {
                let _ = write!(
                    text,
                    "Log in to {} at {} on any device, if it was you who started this:\n\n  address  {verification_uri}\n  code     {user_code}\n\n",
                    shown.registry,
                    shown.issuer,
                );
                if is_elsewhere(verification_uri, &shown.issuer) {
                    let _ = write!(
                        text,
                        "Mind that the page is at {}, and not at the issuer {}: go on if you know that it belongs to it.\n\n",
                        verification_uri.host_str().unwrap_or_default(),
                        shown.issuer,
                    );
                }
                if let Some(complete) = verification_uri_complete {
                    let _ = write!(text, "Or open this address and compare the code:\n\n  {complete}\n\n");
                }
            }
            LoginMethod::Paste if reads => text.push_str(
                "If the browser is on another machine, it ends at an address there that cannot be opened: paste that here.\n\n",
            ),
            LoginMethod::Paste => text.push_str(
                "If the browser is on another machine, it ends at an address there that cannot be opened: `--paste` reads that from standard input.\n\n",
            ),
        }
    }
    text.push_str("Waiting for the login (Ctrl-C gives up) …");
    text
}

/// The lines of standard input, as they come. The thread that reads them ends with the process: nothing else can end it.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            let read = stdin.by_ref().take(MAX_ADDRESS).read_line(&mut line);
            if !matches!(read, Ok(length) if length > 0) {
                return;
            }
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn said(methods: &[LoginMethod], reads: bool) -> String {
        let shown = Shown {
            registry: "https://r.example".to_owned(),
            issuer: "https://id.example".to_owned(),
        };
        words(methods, &shown, reads)
    }

    #[test]
    fn a_code_is_shown_with_the_registry_and_the_issuer_that_it_is_for() {
        let device = LoginMethod::Device {
            verification_uri: url("https://id.example/device"),
            verification_uri_complete: Some(url("https://id.example/device?user_code=AB-CD")),
            user_code: "AB-CD".to_owned(),
            interval: Duration::from_secs(5),
        };
        assert_eq!(
            said(&[device], false),
            "Log in to https://r.example at https://id.example on any device, if it was you who started this:\n\n  \
             address  https://id.example/device\n  code     AB-CD\n\n\
             Or open this address and compare the code:\n\n  https://id.example/device?user_code=AB-CD\n\n\
             Waiting for the login (Ctrl-C gives up) …"
        );
    }

    #[test]
    fn pasting_here_is_offered_only_where_something_is_read() {
        let browser = LoginMethod::Browser {
            authorization_url: url("https://id.example/authorize?state=x"),
        };
        let methods = [browser, LoginMethod::Paste];
        assert!(said(&methods, true).contains("paste that here"));
        let unread = said(&methods, false);
        assert!(!unread.contains("paste that here"), "{unread}");
        assert!(unread.contains("`--paste` reads that"), "{unread}");
    }

    #[test]
    fn an_address_is_shown_with_the_registry_and_the_issuer_that_it_is_for() {
        let browser = LoginMethod::Browser {
            authorization_url: url("https://id.example/authorize?state=x"),
        };
        let text = said(&[browser], false);
        assert!(
            text.starts_with("Log in at:\n\n  https://id.example/authorize?state=x\n\nThis is for the registry https://r.example with the issuer https://id.example.\n\n"),
            "{text}"
        );
    }

    #[test]
    fn a_code_whose_page_is_elsewhere_comes_with_a_warning() {
        let device = |page: &str| LoginMethod::Device {
            verification_uri: url(page),
            verification_uri_complete: None,
            user_code: "AB-CD".to_owned(),
            interval: Duration::from_secs(5),
        };
        let warned = said(&[device("https://evil.example/device")], false);
        assert!(
            warned
                .contains("the page is at evil.example, and not at the issuer https://id.example"),
            "{warned}"
        );
        let quiet = said(&[device("https://id.example/device")], false);
        assert!(!quiet.contains("Mind"), "{quiet}");
    }
}
