//! Telling of what connections do, for whoever counts it.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use milena_protocol::ApiKey;

/// Is told what the connections of a client do.
///
/// It is called by the tasks of connections, between two frames: it should be quick, and must not panic, which would end the
/// connection.
pub trait Observe: Send + Sync + 'static {
    /// A connection is ready for requests: encrypted, logged in, its versions known.
    fn opened(&self);

    /// One that was ready has ended.
    fn closed(&self);

    /// A request was answered, after this time since it was handed to the connection's writer.
    fn answered(&self, api: ApiKey, took: Duration);

    /// An answer asked the client to be quiet for so long (KIP-219).
    fn throttled(&self, api: ApiKey, pause: Duration);
}

/// Whom connections tell.
#[derive(Clone)]
pub struct Observer(Arc<dyn Observe>);

impl Observer {
    /// Tells `observe`.
    pub fn new(observe: impl Observe) -> Self {
        Self(Arc::new(observe))
    }
}

impl Deref for Observer {
    type Target = dyn Observe;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
