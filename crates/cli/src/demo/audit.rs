//! Reading what is in the topics in the end, in no group, and holding it against what was to be there.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Context;
use milena::{AutoOffsetReset, Consumer, IsolationLevel, OffsetSpec, RecordRef, SeekTo, TopicPartition};

use super::{
    bits::Bits,
    plan::Plan,
    services::{Entry, ORDER_ID, Paid, Sent, Shop},
};

/// How often it is looked whether letters have come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ORIGIN: &str = "milena.origin.";

/// Where topics begin and end.
pub(crate) type Ends = BTreeMap<TopicPartition, i64>;

/// Reads topics up to where they end, and counts what was handed out.
pub(crate) struct Auditor<'s> {
    shop: &'s Shop,
    /// How many records of each topic were read.
    pub(crate) handed: BTreeMap<String, u64>,
}

impl<'s> Auditor<'s> {
    pub(crate) fn new(shop: &'s Shop) -> Self {
        Self { shop, handed: BTreeMap::new() }
    }

    /// Where these topics end, for readers of this level.
    pub(crate) async fn ends(&self, topics: &[String], level: IsolationLevel) -> anyhow::Result<Ends> {
        let admin = self.shop.client.admin();
        let mut asked = Vec::new();
        for topic in topics {
            let count = i32::try_from(admin.partition_count(topic.as_str()).await?)?;
            asked.extend((0..count).map(|at| (TopicPartition::new(topic.as_str(), at), OffsetSpec::Latest)));
        }
        let listed = admin.list_offsets(asked, level).await.into_iter();
        listed.map(|(partition, listed)| Ok((partition, listed?.offset.unwrap_or(0)))).collect()
    }

    /// Hands out what is in these topics, from their beginnings to their ends.
    pub(crate) async fn all(
        &mut self,
        topics: &[String],
        level: IsolationLevel,
        note: impl FnMut(&RecordRef<'_>),
    ) -> anyhow::Result<()> {
        let ends = self.ends(topics, level).await?;
        self.between(&Ends::new(), &ends, level, note).await
    }

    /// Hands out what is in these partitions, from `starts` (or their beginnings) to `ends`.
    pub(crate) async fn between(
        &mut self,
        starts: &Ends,
        ends: &Ends,
        level: IsolationLevel,
        note: impl FnMut(&RecordRef<'_>),
    ) -> anyhow::Result<()> {
        let consumer = self.shop.client.consumer_without_group().assign(ends.keys().cloned());
        let consumer =
            consumer.auto_offset_reset(AutoOffsetReset::Earliest).isolation_level(level).build()?;
        for (partition, start) in starts {
            consumer.seek(partition, SeekTo::Offset(*start))?;
        }
        let read = self.until(&consumer, ends, note).await;
        consumer.close(Duration::from_secs(5)).await?;
        read
    }

    async fn until(
        &mut self,
        consumer: &Consumer,
        ends: &Ends,
        mut note: impl FnMut(&RecordRef<'_>),
    ) -> anyhow::Result<()> {
        let mut last_arrival = Instant::now();
        let is_open = |partition: &TopicPartition, end: &i64| {
            *end > 0 && consumer.position(partition).is_none_or(|position| position.offset < *end)
        };
        while ends.iter().any(|(partition, end)| is_open(partition, end)) {
            let records = consumer.poll(Duration::from_millis(200)).await?.context("it was closed")?;
            if !records.is_empty() {
                last_arrival = Instant::now();
            }
            anyhow::ensure!(
                last_arrival.elapsed() < self.shop.patience,
                "nothing to read for {:?}; {}",
                self.shop.patience,
                consumer.explain().join("; ")
            );
            for record in records.iter() {
                *self.handed.entry(record.topic().to_owned()).or_default() += 1;
                note(&record);
            }
        }
        Ok(())
    }

    /// Waits until the topic of dead letters has so many.
    pub(crate) async fn await_letters(&self, letters: u64) -> anyhow::Result<()> {
        let topic = [self.shop.names.dead_letters()];
        let begun = Instant::now();
        loop {
            let there: i64 = self.ends(&topic, IsolationLevel::ReadUncommitted).await?.values().sum();
            if there >= i64::try_from(letters)? || begun.elapsed() > self.shop.patience {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The dead letters, held against the orders that were to be some.
    pub(crate) async fn letters(&mut self, sent: &BTreeMap<u64, Sent>) -> anyhow::Result<Letters> {
        let mut letters = Letters::default();
        let (topic, orders) = ([self.shop.names.dead_letters()], self.shop.names.orders());
        self.all(&topic, IsolationLevel::ReadUncommitted, |record| {
            letters.note(&Letter::of(record), orders, sent);
        })
        .await?;
        letters.missing = sent.keys().filter(|id| !letters.found.contains(id)).count() as u64;
        Ok(letters)
    }

    /// What was written for payments, as readers of committed records have it and as those of all have it.
    pub(crate) async fn books(&mut self, paid: &Paid) -> anyhow::Result<[Book; 3]> {
        let names = self.shop.names.books();
        let mut books = names.clone().map(|topic| Book::new(topic, self.shop.plan));
        for level in [IsolationLevel::ReadCommitted, IsolationLevel::ReadUncommitted] {
            let note = |record: &RecordRef<'_>| {
                let entry = record.value().and_then(|value| serde_json::from_slice(value).ok());
                if let Some(book) = books.iter_mut().find(|book| book.topic == record.topic()) {
                    book.note(level, entry.as_ref(), paid);
                }
            };
            self.all(&names, level, note).await?;
        }
        Ok(books)
    }

    /// How many records each group has not read: those behind what it has committed.
    pub(crate) async fn unread(&mut self, group: &str) -> anyhow::Result<Unread> {
        let lags = self.shop.client.admin().group_lag(group).await?;
        let mut unread = Unread { partitions: lags.len() as u64, ..Unread::default() };
        let (mut starts, mut ends) = (Ends::new(), Ends::new());
        for lag in lags {
            let end = lag.end.clone()?;
            let committed = lag.committed.clone()?.map(|committed| committed.position.offset);
            if committed.unwrap_or(0) < end {
                starts.extend(committed.map(|offset| (lag.partition.clone(), offset)));
                ends.insert(lag.partition, end);
            }
        }
        unread.offsets =
            ends.iter().map(|(at, end)| end - starts.get(at).copied().unwrap_or(0)).sum::<i64>().max(0)
                as u64;
        // What is behind may be no records but the ends of transactions.
        if !ends.is_empty() {
            self.between(&starts, &ends, IsolationLevel::ReadUncommitted, |_| unread.records += 1).await?;
        }
        Ok(unread)
    }
}

/// How far a group is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) partitions: u64,
    /// Offsets between what is committed and the ends.
    pub(crate) offsets: u64,
    /// Records among them.
    pub(crate) records: u64,
}

/// What the topic of dead letters holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letters {
    /// Orders whose letter is as they were sent.
    pub(crate) found: HashSet<u64>,
    pub(crate) missing: u64,
    /// Letters of orders that should not be there.
    pub(crate) unexpected: u64,
    /// Letters that are not byte for byte what was sent, or tell a wrong origin.
    pub(crate) changed: u64,
    /// Letters of an order that has one already.
    pub(crate) repeated: u64,
    /// What is wrong with the first that is.
    pub(crate) problem: Option<String>,
}

/// A dead letter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letter {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    /// Those that the record had of itself.
    headers: Vec<(String, Vec<u8>)>,
    origin: BTreeMap<String, String>,
}

impl Letter {
    fn of(record: &RecordRef<'_>) -> Self {
        let mut letter = Self {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            ..Self::default()
        };
        for header in record.headers() {
            let name = String::from_utf8_lossy(header.name).into_owned();
            let value = header.value.unwrap_or_default().to_vec();
            match name.strip_prefix(ORIGIN) {
                Some(what) => {
                    letter.origin.insert(what.to_owned(), String::from_utf8_lossy(&value).into_owned());
                }
                None => letter.headers.push((name, value)),
            }
        }
        letter
    }

    /// Which order it says to be of.
    fn order(&self) -> Option<u64> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == ORDER_ID)?;
        std::str::from_utf8(value).ok()?.parse().ok()
    }

    /// What of it is not as it was sent to `topic`.
    fn difference(&self, sent: &Sent, topic: &str) -> Option<&'static str> {
        let tells = |what: &str, known: Option<String>| match known {
            Some(known) => self.origin.get(what) == Some(&known),
            None => self.origin.contains_key(what),
        };
        if self.key.as_deref() != Some(&sent.key[..]) {
            Some("key")
        } else if self.value.as_deref() != Some(&sent.value[..]) {
            Some("value")
        } else if self.headers != sent.headers {
            Some("headers")
        } else if !tells("topic", Some(topic.to_owned()))
            || !tells("partition", sent.partition.map(|partition| partition.to_string()))
            || !tells("offset", sent.offset.map(|offset| offset.to_string()))
        {
            Some("origin")
        } else {
            None
        }
    }
}

impl Letters {
    fn note(&mut self, letter: &Letter, topic: &str, sent: &BTreeMap<u64, Sent>) {
        let problem = match letter.order().and_then(|id| Some((id, sent.get(&id)?))) {
            None => {
                self.unexpected += 1;
                format!("a letter of order {:?} is not expected", letter.order())
            }
            Some((id, sent)) => match letter.difference(sent, topic) {
                Some(what) => {
                    self.changed += 1;
                    format!("the {what} of the letter of order {id} is not as sent")
                }
                None if self.found.insert(id) => return,
                None => {
                    self.repeated += 1;
                    return;
                }
            },
        };
        self.problem.get_or_insert(problem);
    }
}

/// What one of the topics that payments are written to holds.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) topic: String,
    plan: Plan,
    /// Orders that readers of committed records see.
    pub(crate) orders: Bits,
    pub(crate) repeated: u64,
    /// Entries that are none, or for orders that are not paid.
    pub(crate) foreign: u64,
    /// Entries of aborted transactions that readers of committed records see: there must be none.
    pub(crate) aborted_seen: u64,
    /// Entries that readers of all records see, and of them those of transactions that were declined or broke.
    pub(crate) all: u64,
    pub(crate) declined: u64,
    pub(crate) broken: u64,
}

impl Book {
    pub(crate) fn new(topic: String, plan: Plan) -> Self {
        Self {
            topic,
            plan,
            orders: Bits::new(plan.orders),
            repeated: 0,
            foreign: 0,
            aborted_seen: 0,
            all: 0,
            declined: 0,
            broken: 0,
        }
    }

    /// Notes an entry that a reader of this level sees.
    pub(crate) fn note(&mut self, level: IsolationLevel, entry: Option<&Entry>, paid: &Paid) {
        let (is_declined, is_broken) = entry.map_or((false, false), |Entry { transaction, .. }| {
            (paid.declined.contains(transaction), paid.broken.contains(transaction))
        });
        if level == IsolationLevel::ReadUncommitted {
            self.all += 1;
            self.declined += u64::from(is_declined);
            self.broken += u64::from(is_broken);
            return;
        }
        match entry {
            _ if is_declined || is_broken => self.aborted_seen += 1,
            Some(entry) if self.plan.is_paid(entry.order_id) => {
                self.repeated += u64::from(!self.orders.insert(entry.order_id));
            }
            _ => self.foreign += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> BTreeMap<u64, Sent> {
        let headers = vec![("sentAt".to_owned(), b"5".to_vec()), (ORDER_ID.to_owned(), b"7".to_vec())];
        let sent = Sent {
            key: "cust-1".into(),
            value: "\u{1}abc".into(),
            headers,
            partition: Some(2),
            offset: Some(40),
        };
        BTreeMap::from([(7, sent)])
    }

    fn letter() -> Letter {
        let sent = &sent()[&7];
        let origin = [("topic", "orders"), ("partition", "2"), ("offset", "40"), ("error", "out of stock")];
        Letter {
            key: Some(sent.key.to_vec()),
            value: Some(sent.value.to_vec()),
            headers: sent.headers.clone(),
            origin: origin.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    fn noted(letters: &[Letter]) -> Letters {
        let mut noted = Letters::default();
        letters.iter().for_each(|letter| noted.note(letter, "orders", &sent()));
        noted
    }

    #[test]
    fn a_letter_as_it_was_sent_is_found_and_a_second_one_is_counted() {
        let letters = noted(&[letter(), letter()]);
        assert_eq!(
            (letters.found.len(), letters.repeated, letters.changed, letters.problem),
            (1, 1, 0, None)
        );
    }

    #[test]
    fn a_single_changed_byte_is_found_wherever_it_is() {
        let mut of_key = letter();
        of_key.key.as_mut().unwrap()[5] = b'2';
        let mut of_value = letter();
        of_value.value.as_mut().unwrap()[0] = 2;
        let mut of_header = letter();
        of_header.headers[0].1[0] = b'6';
        let mut of_origin = letter();
        of_origin.origin.insert("offset".to_owned(), "41".to_owned());
        for (changed, what) in
            [(of_key, "key"), (of_value, "value"), (of_header, "headers"), (of_origin, "origin")]
        {
            let letters = noted(&[changed]);
            assert_eq!((letters.found.len(), letters.changed), (0, 1), "{what}");
            assert_eq!(letters.problem, Some(format!("the {what} of the letter of order 7 is not as sent")));
        }
    }

    #[test]
    fn a_letter_of_an_order_that_is_well_is_found() {
        let mut other = letter();
        other.headers[1].1 = b"8".to_vec();
        assert_eq!(noted(&[other]).unexpected, 1);
    }

    #[test]
    fn a_payment_that_was_aborted_and_is_seen_is_found() {
        let plan = Plan::new(1, 10, 10);
        let mut paid = Paid::new(10);
        paid.declined.insert(4);
        paid.broken.insert(5);
        let mut book = Book::new("payments".to_owned(), plan);
        let entry = |transaction| Entry { order_id: 3, transaction, amount: 1 };
        for transaction in [4, 5, 6] {
            book.note(IsolationLevel::ReadUncommitted, Some(&entry(transaction)), &paid);
        }
        book.note(IsolationLevel::ReadCommitted, Some(&entry(6)), &paid);
        assert_eq!((book.all, book.declined, book.broken, book.aborted_seen, book.repeated), (3, 1, 1, 0, 0));
        book.note(IsolationLevel::ReadCommitted, Some(&entry(4)), &paid);
        book.note(IsolationLevel::ReadCommitted, Some(&entry(7)), &paid);
        book.note(IsolationLevel::ReadCommitted, None, &paid);
        assert_eq!((book.orders.count(), book.aborted_seen, book.repeated, book.foreign), (1, 1, 1, 1));
    }
}
