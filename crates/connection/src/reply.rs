//! Whoever waits for an answer.

use milena_cluster::{Failure, FailureKind, RequestId};
use tokio::sync::{mpsc, oneshot};

use crate::{connection::Answered, network::AddressBook};

/// Where an answer goes. Dropping it unanswered answers with a failure: nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Reply {
    destination: Option<Destination>,
    /// Learns from every answer where brokers are.
    addresses: AddressBook,
}

#[derive(Debug)]
enum Destination {
    Machine(mpsc::UnboundedSender<(RequestId, Answered)>, RequestId),
    Caller(oneshot::Sender<Answered>),
}

impl Reply {
    /// To the loop that drives a machine.
    pub(crate) fn to_machine(
        answers: mpsc::UnboundedSender<(RequestId, Answered)>,
        id: RequestId,
        addresses: AddressBook,
    ) -> Self {
        Self { destination: Some(Destination::Machine(answers, id)), addresses }
    }

    /// To one caller.
    pub(crate) fn to_caller(caller: oneshot::Sender<Answered>, addresses: AddressBook) -> Self {
        Self { destination: Some(Destination::Caller(caller)), addresses }
    }

    /// Hands over the answer. A waiter that has gone away does not miss it.
    pub(crate) fn answer(mut self, answer: Answered) {
        if let Ok(response) = &answer {
            self.addresses.learn(response);
        }
        self.hand_over(answer);
    }

    fn hand_over(&mut self, answer: Answered) {
        match self.destination.take() {
            Some(Destination::Machine(answers, id)) => drop(answers.send((id, answer))),
            Some(Destination::Caller(caller)) => drop(caller.send(answer)),
            None => {}
        }
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
