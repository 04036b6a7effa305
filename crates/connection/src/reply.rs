//! Whoever waits for an answer.

use std::sync::Arc;

use milena_cluster::{Failure, FailureKind, RequestId};
use tokio::sync::{mpsc, oneshot};

use crate::{
    address_book::{AddressBook, BeginAnew},
    connection::Answered,
};

/// Why an answer is none.
const REBOOTSTRAP: &str =
    "the broker says that its cluster is not the one it was: the bootstrap addresses are asked again";

/// What a machine's loop hears of a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are nearly all of the news: a box would cost each of them"
)]
pub(crate) enum News {
    Answered(Answered),
    /// It has been written, and no answer comes.
    Written,
    /// The connection over which it was written, without an answer to come, has ended.
    HungUp(Arc<str>),
}

/// Where news of a machine's requests go.
pub(crate) type NewsSender = mpsc::UnboundedSender<(RequestId, News)>;

/// Where an answer goes. Dropping it unanswered answers with a failure: nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Reply {
    destination: Option<Destination>,
    /// Learns from every answer where brokers are.
    addresses: AddressBook,
}

#[derive(Debug)]
enum Destination {
    Machine(NewsSender, RequestId),
    Caller(oneshot::Sender<Answered>),
}

impl Reply {
    /// To the loop that drives a machine.
    pub(crate) fn to_machine(answers: NewsSender, id: RequestId, addresses: AddressBook) -> Self {
        Self { destination: Some(Destination::Machine(answers, id)), addresses }
    }

    /// To one caller.
    pub(crate) fn to_caller(caller: oneshot::Sender<Answered>, addresses: AddressBook) -> Self {
        Self { destination: Some(Destination::Caller(caller)), addresses }
    }

    /// Hands over the answer. A waiter that has gone away does not miss it.
    pub(crate) fn answer(mut self, answer: Answered) {
        let answer = answer.and_then(|response| match self.addresses.learn(&response) {
            Ok(()) => Ok(response),
            Err(BeginAnew) => Err(Failure::new(FailureKind::Unanswered, REBOOTSTRAP)),
        });
        self.hand_over(answer);
    }

    /// Tells that the request has been written, to which no answer comes. What is returned is to be told when the connection
    /// ends.
    pub(crate) fn written(mut self) -> Option<Listener> {
        match self.destination.take()? {
            Destination::Machine(answers, id) => {
                // A machine that has gone away does not miss it.
                let _ = answers.send((id, News::Written));
                Some(Listener { answers, id })
            }
            // Callers wait for answers only.
            Destination::Caller(_) => None,
        }
    }

    fn hand_over(&mut self, answer: Answered) {
        match self.destination.take() {
            Some(Destination::Machine(answers, id)) => drop(answers.send((id, News::Answered(answer)))),
            Some(Destination::Caller(caller)) => drop(caller.send(answer)),
            None => {}
        }
    }
}

/// A machine that has sent what is not answered, and can learn of a refusal only by the end of the connection.
#[derive(Debug)]
pub(crate) struct Listener {
    answers: NewsSender,
    id: RequestId,
}

impl Listener {
    pub(crate) fn hung_up(self, cause: Arc<str>) {
        let _ = self.answers.send((self.id, News::HungUp(cause)));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.destination.is_some() {
            self.hand_over(Err(Failure::new(
                FailureKind::Unanswered,
                "the task that owned the connection has ended",
            )));
        }
    }
}
