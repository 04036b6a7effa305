//! Which address is asked, how often, and what an answer means.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::{sleep, timeout};

use crate::{
    Error, ErrorKind,
    base_url::BaseUrl,
    http::{Answer, Dialing, Question, ask},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// So much of what the registry says goes into an error.
const MOST_WORDS: usize = 2000;

pub(crate) struct Transport {
    pub(crate) urls: Vec<BaseUrl>,
    pub(crate) dialing: Dialing,
    pub(crate) request_timeout: Duration,
    pub(crate) retries: u32,
    /// Which of the addresses answered last.
    pub(crate) good: AtomicUsize,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: i32,
    #[serde(default)]
    message: String,
}

impl Transport {
    /// Asks until there is an answer, or the attempts are used up.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, doing: &str, question: Question) -> Result<T, Error> {
        let mut last = Error::misuse(doing, "there is no address");
        for round in 0..=self.retries {
            if round > 0 {
                sleep(pause(round)).await;
            }
            let first = self.good.load(Ordering::Relaxed);
            for offset in 0..self.urls.len() {
                let index = first.wrapping_add(offset) % self.urls.len().max(1);
                let Some(url) = self.urls.get(index) else { continue };
                match self.attempt(url, doing, &question).await {
                    Ok(answer) => {
                        self.good.store(index, Ordering::Relaxed);
                        return understood(url, doing, &answer);
                    }
                    Err(error) => {
                        tracing::debug!(%error, round, "the schema registry did not answer");
                        last = error;
                    }
                }
            }
        }
        Err(last)
    }

    /// One attempt. What fails here may succeed the next time, or elsewhere.
    async fn attempt(&self, url: &BaseUrl, doing: &str, question: &Question) -> Result<Answer, Error> {
        let unavailable =
            |cause: String| Error::new(ErrorKind::Unavailable, doing, format!("{url}: {cause}"));
        let answer = timeout(self.request_timeout, ask(url, &self.dialing, question))
            .await
            .map_err(|_| unavailable(format!("no answer within {:?}", self.request_timeout)))?
            .map_err(unavailable)?;
        if answer.status == 429 || answer.status >= 500 {
            return Err(refused(ErrorKind::Unavailable, url, doing, &answer));
        }
        Ok(answer)
    }
}

fn understood<T: DeserializeOwned>(url: &BaseUrl, doing: &str, answer: &Answer) -> Result<T, Error> {
    match answer.status {
        200..=299 => serde_json::from_slice(&answer.body).map_err(|error| {
            let cause = format!("{url} does not answer as a schema registry: {error}");
            Error::answered(ErrorKind::BadAnswer, doing, cause, answer.status, None)
        }),
        300..=399 => {
            let cause = format!(
                "{url} redirects (status {}), which is not followed: name the registry itself",
                answer.status
            );
            Err(Error::answered(ErrorKind::BadAnswer, doing, cause, answer.status, None))
        }
        _ => Err(refused(ErrorKind::Refused, url, doing, answer)),
    }
}

fn refused(kind: ErrorKind, url: &BaseUrl, doing: &str, answer: &Answer) -> Error {
    let status = answer.status;
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(Refusal { error_code, message }) => {
            let message: String = message.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect();
            let meaning = meaning(error_code).map(|meaning| format!(" ({meaning})")).unwrap_or_default();
            let cause = format!("{url} refused with status {status}, code {error_code}{meaning}: {message}");
            Error::answered(kind, doing, cause, status, Some(error_code))
        }
        Err(_) => Error::answered(kind, doing, format!("{url} answered with status {status}"), status, None),
    }
}

/// As Confluent documents its codes.
fn meaning(error_code: i32) -> Option<&'static str> {
    Some(match error_code {
        401 | 40101 => "not logged in",
        403 | 40301 => "not allowed",
        409 => "incompatible schema",
        40401 => "no such subject",
        40402 => "no such version",
        40403 => "no such schema",
        40404 => "subject was deleted softly",
        40405 => "subject was not deleted softly before",
        40406 => "version was deleted softly",
        40407 => "version was not deleted softly before",
        40408 => "no configuration of the subject's own",
        42201 => "no valid schema",
        42202 => "no valid version",
        42203 => "no valid compatibility level",
        42205 => "operation not permitted",
        42206 => "schema is referred to",
        50001 => "error in the registry's store",
        50002 => "the registry's operation timed out",
        50003 => "the registry could not forward the request to its leader",
        _ => return None,
    })
}

/// Doubles from round to round; each client waits for a part of it, so that they do not come all at once.
fn pause(round: u32) -> Duration {
    let doubled = SHORTEST_PAUSE.saturating_mul(1 << round.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}
