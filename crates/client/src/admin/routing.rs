//! Who answers what: any broker, all of them, a group's coordinator, or the leaders of partitions.
//!
//! What a broker certainly has not done is asked again until the timeout; what it may have done only when that changes
//! nothing.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use milena_cluster::{BrokerId, Failure, FailureKind, Target, TopicPartition, Verdict, verdict};
use milena_protocol::{
    ApiKey, ErrorCode, RequestMessage,
    messages::{
        FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataResponse,
        metadata::MetadataRequestTopic,
    },
    wire::ByteString,
};
use tokio::task::JoinSet;

use super::Admin;
use crate::AdminError;

/// How long is waited before something is asked again.
const BACKOFF: Duration = Duration::from_millis(100);
/// What is always waited for an answer.
const LEAST: Duration = Duration::from_millis(1);

/// The time is shared out among so many tries: a broker that is silent must not take all of it.
const TRIES: u32 = 3;

/// Every version that both sides have.
pub(super) const ANY_VERSION: RangeInclusive<i16> = 0..=i16::MAX;

/// What a request may do when it is carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    /// Nothing: it reads, or sets what is set already.
    IsOnce,
    /// The second time is an error, or worse.
    Differs,
}

impl Twice {
    fn allows(self, failure: &Failure) -> bool {
        match failure.kind {
            FailureKind::NotSent => true,
            FailureKind::Unanswered => self == Self::IsOnce,
            _ => false,
        }
    }
}

/// What is done, and until when it is tried.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    action: Arc<str>,
    until: Instant,
    /// How long one broker may be silent.
    share: Duration,
    twice: Twice,
}

impl Attempt {
    pub(super) fn refused(&self, code: ErrorCode, message: Option<ByteString>) -> AdminError {
        let message = message.filter(|text| !text.is_empty()).map(|text| text.to_string());
        AdminError::Refused { action: self.action.to_string(), code, message }
    }

    pub(super) fn failed(&self, failure: Failure) -> AdminError {
        AdminError::Failed { action: self.action.to_string(), failure }
    }

    /// An error when the broker refused; what it says nothing of, nobody knows.
    pub(super) fn granted(&self, said: Option<Said>) -> Result<(), AdminError> {
        let (code, message) = said.unwrap_or((ErrorCode::UNKNOWN_SERVER_ERROR, None));
        code.ok().map_err(|code| self.refused(code, message))
    }

    /// What is left of the time, and never nothing: a request without time fails with a reason.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(milena_connection::now()).max(LEAST)
    }

    /// How long an answer is waited for when another try may follow.
    fn share(&self) -> Duration {
        self.left().min(self.share)
    }

    /// How long an answer is waited for.
    fn patience(&self) -> Duration {
        match self.twice {
            Twice::IsOnce => self.share(),
            Twice::Differs => self.left(),
        }
    }

    /// Waits before the next try. False when there is no time for one.
    async fn pauses(&self) -> bool {
        if self.left() <= BACKOFF {
            return false;
        }
        tokio::time::sleep(BACKOFF).await;
        true
    }
}

/// What a broker says of one thing: its code, and its own words.
pub(super) type Said = (ErrorCode, Option<ByteString>);

/// What a leader answered, partition by partition.
type Answered<T> = Vec<(TopicPartition, Result<T, ErrorCode>)>;

/// What an answer means for a partition.
enum Sorted<T> {
    Done(Result<T, AdminError>),
    /// Another try may do better.
    Again(AdminError),
}

impl Attempt {
    /// What a leader's answer, or the lack of one, means for each of the partitions that it was asked about. What it says of
    /// others does not count; of which it says nothing stays open.
    fn sorted<T>(
        &self,
        api: ApiKey,
        asked: Vec<TopicPartition>,
        answer: Result<Answered<T>, Failure>,
    ) -> Vec<(TopicPartition, Sorted<T>)> {
        match answer {
            Ok(mut results) => {
                results.retain(|(partition, _)| asked.contains(partition));
                let sorted = results.into_iter().map(|(partition, result)| {
                    let sorted = match result {
                        Err(code) if passes(api, code) => Sorted::Again(self.refused(code, None)),
                        result => Sorted::Done(result.map_err(|code| self.refused(code, None))),
                    };
                    (partition, sorted)
                });
                sorted.collect()
            }
            Err(failure) => {
                let again = self.twice.allows(&failure);
                let sorted = asked.into_iter().map(|partition| {
                    let error = self.failed(failure.clone());
                    (partition, if again { Sorted::Again(error) } else { Sorted::Done(Err(error)) })
                });
                sorted.collect()
            }
        }
    }
}

impl Admin {
    pub(super) fn attempt(&self, action: impl Into<Arc<str>>, twice: Twice) -> Attempt {
        let until = milena_cluster::later(milena_connection::now(), self.timeout);
        let share = (self.timeout / TRIES).max(LEAST);
        Attempt { action: action.into(), until, share, twice }
    }

    /// Asks any broker for what all of them know, and another one when it hangs up or is silent for long.
    pub(super) async fn look_up<R: RequestMessage + Clone>(
        &self,
        attempt: &Attempt,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        loop {
            match self.network.call(Target::AnyBroker, request.clone(), attempt.share()).await {
                Err(failure) if failure.kind == FailureKind::Unanswered && attempt.pauses().await => {}
                answer => return answer.map_err(|failure| attempt.failed(failure)),
            }
        }
    }

    /// Asks any broker, once.
    pub(super) async fn at_any<R: RequestMessage>(
        &self,
        attempt: &Attempt,
        request: R,
    ) -> Result<R::Response, AdminError> {
        self.at_any_within(attempt, ANY_VERSION, request).await
    }

    /// As [`at_any`](Self::at_any), in one of these versions.
    pub(super) async fn at_any_within<R: RequestMessage>(
        &self,
        attempt: &Attempt,
        versions: RangeInclusive<i16>,
        request: R,
    ) -> Result<R::Response, AdminError> {
        let answer = self.network.call_within(Target::AnyBroker, request, versions, attempt.left()).await;
        answer.map_err(|failure| attempt.failed(failure))
    }

    /// The brokers that are up.
    pub(super) async fn brokers(&self, attempt: &Attempt) -> Result<Vec<BrokerId>, AdminError> {
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let response: MetadataResponse = self.look_up(attempt, &request).await?;
        Ok(response.brokers.iter().map(|broker| BrokerId(broker.node_id)).collect())
    }

    /// Asks the coordinator of a group, and the next one when that has moved.
    pub(super) async fn at_coordinator<R: RequestMessage + Clone>(
        &self,
        attempt: &Attempt,
        group: &ByteString,
        versions: RangeInclusive<i16>,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<(BrokerId, R::Response), AdminError> {
        loop {
            let last = match self.coordinator(attempt, group).await {
                Ok(broker) => {
                    let target = Target::Broker(broker);
                    let asked = self.network.call_within(
                        target,
                        request.clone(),
                        versions.clone(),
                        attempt.patience(),
                    );
                    match asked.await {
                        Ok(response) => {
                            let code = code(&response);
                            if !passes(R::API_KEY, code) {
                                return Ok((broker, response));
                            }
                            attempt.refused(code, None)
                        }
                        Err(failure) if attempt.twice.allows(&failure) => attempt.failed(failure),
                        Err(failure) => return Err(attempt.failed(failure)),
                    }
                }
                Err(error) if may_pass(ApiKey::FindCoordinator, &error) => error,
                Err(error) => return Err(error),
            };
            if !attempt.pauses().await {
                return Err(last);
            }
        }
    }

    /// Asks the coordinator of a group for one thing, of which `said` tells what the broker says.
    pub(super) async fn of_group<R: RequestMessage + Clone>(
        &self,
        attempt: &Attempt,
        group: &ByteString,
        request: &R,
        said: impl Fn(&R::Response) -> Option<Said>,
    ) -> Result<(BrokerId, R::Response), AdminError> {
        let code =
            |response: &R::Response| said(response).map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |(code, _)| code);
        let answered = self.at_coordinator(attempt, group, ANY_VERSION, request, code).await?;
        attempt.granted(said(&answered.1))?;
        Ok(answered)
    }

    async fn coordinator(&self, attempt: &Attempt, group: &ByteString) -> Result<BrokerId, AdminError> {
        let request = FindCoordinatorRequest { coordinator_keys: vec![group.clone()], ..Default::default() };
        let response: FindCoordinatorResponse = self.look_up(attempt, &request).await?;
        let found = response.coordinators.into_iter().next();
        attempt.granted(found.as_ref().map(|it| (ErrorCode(it.error_code), it.error_message.clone())))?;
        Ok(BrokerId(found.unwrap_or_default().node_id))
    }

    /// Asks the leaders of partitions, all at once, and again those whose partitions have moved: a result for each.
    pub(super) async fn at_leaders<I, R, T>(
        &self,
        attempt: &Attempt,
        items: BTreeMap<TopicPartition, I>,
        versions: RangeInclusive<i16>,
        request: impl Fn(&[(TopicPartition, I)]) -> R,
        results: impl Fn(R::Response) -> Answered<T>,
    ) -> BTreeMap<TopicPartition, Result<T, AdminError>>
    where
        I: Clone,
        R: RequestMessage + Send + 'static,
        R::Response: Send + 'static,
    {
        let mut pending = items;
        let mut done = BTreeMap::new();
        while !pending.is_empty() {
            let mut last = BTreeMap::new();
            let leaders = self.leaders(attempt, pending.keys()).await;
            let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, I)>> = BTreeMap::new();
            for (partition, item) in &pending {
                match leaders.get(partition) {
                    Some(Ok(leader)) => {
                        by_leader.entry(*leader).or_default().push((partition.clone(), item.clone()));
                    }
                    Some(Err(error)) if may_pass(R::API_KEY, error) => {
                        last.insert(partition.clone(), error.clone());
                    }
                    Some(Err(error)) => drop(done.insert(partition.clone(), Err(error.clone()))),
                    None => {
                        let error = attempt.refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
                        done.insert(partition.clone(), Err(error));
                    }
                }
            }
            let mut asked = JoinSet::new();
            for (leader, items) in by_leader {
                let (network, request) = (self.network.clone(), request(&items));
                let (versions, left) = (versions.clone(), attempt.patience());
                let partitions: Vec<_> = items.into_iter().map(|(partition, _)| partition).collect();
                asked.spawn(async move {
                    (partitions, network.call_within(Target::Broker(leader), request, versions, left).await)
                });
            }
            while let Some(answered) = asked.join_next().await {
                let Ok((partitions, answer)) = answered else { continue };
                for (partition, result) in attempt.sorted(R::API_KEY, partitions, answer.map(&results)) {
                    match result {
                        Sorted::Again(error) => drop(last.insert(partition, error)),
                        Sorted::Done(result) => drop(done.insert(partition, result)),
                    }
                }
            }
            pending.retain(|partition, _| !done.contains_key(partition));
            if !pending.is_empty() && !attempt.pauses().await {
                for partition in std::mem::take(&mut pending).into_keys() {
                    let unsaid = || attempt.refused(ErrorCode::UNKNOWN_SERVER_ERROR, None);
                    let error = last.remove(&partition).unwrap_or_else(unsaid);
                    done.insert(partition, Err(error));
                }
            }
        }
        done
    }

    /// The leaders of those partitions that there are.
    async fn leaders<'p>(
        &self,
        attempt: &Attempt,
        partitions: impl Iterator<Item = &'p TopicPartition> + Clone,
    ) -> BTreeMap<TopicPartition, Result<BrokerId, AdminError>> {
        let names = partitions.clone().map(|partition| partition.topic.clone());
        let names: std::collections::BTreeSet<ByteString> = names.collect();
        let topic = |name| MetadataRequestTopic { name: Some(name), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(names.into_iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response: MetadataResponse = match self.look_up(attempt, &request).await {
            Ok(response) => response,
            Err(error) => {
                return partitions.map(|partition| (partition.clone(), Err(error.clone()))).collect();
            }
        };
        let mut leaders = BTreeMap::new();
        for topic in response.topics {
            let name = topic.name.unwrap_or_default();
            // Such as that it may not be seen: there are no partitions then.
            if let Err(code) = ErrorCode(topic.error_code).ok() {
                let of_it = partitions.clone().filter(|partition| partition.topic == name);
                leaders.extend(of_it.map(|partition| (partition.clone(), Err(attempt.refused(code, None)))));
            }
            for partition in &topic.partitions {
                let leader = match partition.leader_id {
                    id if id >= 0 => Ok(BrokerId(id)),
                    _ => Err(attempt.refused(ErrorCode::LEADER_NOT_AVAILABLE, None)),
                };
                leaders.insert(TopicPartition::new(name.clone(), partition.partition_index), leader);
            }
        }
        leaders
    }
}

/// True for a look-up that may go well at the next try: a topic that is not there is not waited for.
fn may_pass(api: ApiKey, error: &AdminError) -> bool {
    match error {
        AdminError::Refused { code, .. } => {
            *code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION && passes(api, *code)
        }
        AdminError::Failed { failure, .. } => Twice::IsOnce.allows(failure),
    }
}

/// True for what another broker, or the same one a little later, answers otherwise; it has not been carried out.
fn passes(api: ApiKey, code: ErrorCode) -> bool {
    // Of which nobody knows what has been done.
    const UNCLEAR: ErrorCode = ErrorCode::UNKNOWN_SERVER_ERROR;
    code != UNCLEAR
        && matches!(verdict(api, code), Verdict::FindCoordinator | Verdict::RefreshMetadata | Verdict::Retry)
}
