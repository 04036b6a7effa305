//! `sasl.jaas.config`: a login module of Java's, and its options.
//!
//! `CLASS FLAG NAME="VALUE" … ;` with one module, as `javax.security.auth.login.Configuration` has it. It is read as text, and
//! no class is ever loaded. Nothing of the text is in an error, as passwords are in it, but the name of a class.

use milena_connection::Secret;

/// What is read of it.
#[derive(Debug)]
pub(super) struct Jaas {
    pub(super) module: Module,
    options: Vec<(String, Secret)>,
}

/// A login module whose login Milena has, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Plain,
    Scram,
    OauthBearer,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(Secret),
    Equals,
    End,
}

const FORM: &str = "it is CLASS required NAME=\"VALUE\" …; with the semicolon, and values in quotes";
const MODULES: &str = "Milena runs no Java class, and has the logins of org.apache.kafka.common.security's \
                       plain.PlainLoginModule, scram.ScramLoginModule and oauthbearer.OAuthBearerLoginModule";

impl Jaas {
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let mut tokens = tokens(text)?.into_iter();
        let (Some(Token::Word(class)), Some(Token::Word(flag))) = (tokens.next(), tokens.next()) else {
            return Err(FORM);
        };
        let module = match class.strip_prefix("org.apache.kafka.common.security.") {
            Some("plain.PlainLoginModule") => Module::Plain,
            Some("scram.ScramLoginModule") => Module::Scram,
            Some("oauthbearer.OAuthBearerLoginModule") => Module::OauthBearer,
            _ if class == "software.amazon.msk.auth.iam.IAMLoginModule" => {
                return Err("Amazon's login is MskIam, by ClientBuilder::sasl and the feature `msk-iam`");
            }
            _ => return Err(MODULES),
        };
        let flags = ["required", "requisite", "sufficient", "optional"];
        if !flags.iter().any(|known| flag.eq_ignore_ascii_case(known)) {
            return Err(FORM);
        }
        let mut options: Vec<(String, Secret)> = Vec::new();
        loop {
            let name = match tokens.next() {
                Some(Token::End) => break,
                Some(Token::Word(name)) => name,
                _ => return Err(FORM),
            };
            let value = match (tokens.next(), tokens.next()) {
                (Some(Token::Equals), Some(Token::Quoted(value))) => value,
                (Some(Token::Equals), Some(Token::Word(value))) => value.into(),
                _ => return Err(FORM),
            };
            if options.iter().any(|(other, _)| *other == name) {
                return Err("an option is there twice");
            }
            options.push((name, value));
        }
        match tokens.next() {
            None => Ok(Self { module, options }),
            Some(_) => Err("it has more than one login module"),
        }
    }

    /// The value of an option, which is then taken care of.
    pub(super) fn take(&mut self, name: &str) -> Option<Secret> {
        let at = self.options.iter().position(|(other, _)| other == name)?;
        Some(self.options.remove(at).1)
    }

    /// The options whose names begin so, without that.
    #[cfg(feature = "oidc")]
    pub(super) fn take_all(&mut self, prefix: &str) -> Vec<(String, Secret)> {
        let options = std::mem::take(&mut self.options);
        let (taken, left) = options.into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.options = left;
        let bare = |name: String| name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name);
        taken.into_iter().map(|(name, value): (String, Secret)| (bare(name), value)).collect()
    }

    /// True when no option is left that nobody has taken.
    pub(super) fn is_done(&self) -> bool {
        self.options.is_empty()
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let token = match character {
            character if character.is_whitespace() => continue,
            '=' => Token::Equals,
            ';' => Token::End,
            '"' | '\'' => Token::Quoted(quoted(&mut characters, character)?),
            // Java takes what begins with a digit for a number, and fails.
            character if character.is_ascii_alphabetic() || matches!(character, '_' | '$') => {
                let mut word = String::from(character);
                while let Some(next) = characters.next_if(|next| is_of_word(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            _ => return Err(FORM),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

const fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$' | '.' | '-')
}

fn quoted(characters: &mut impl Iterator<Item = char>, quote: char) -> Result<Secret, &'static str> {
    let mut value = String::new();
    while let Some(character) = characters.next() {
        match character {
            end if end == quote => return Ok(value.into()),
            '\\' => match characters.next() {
                Some(same @ ('\\' | '"' | '\'')) => value.push(same),
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                _ => return Err("in quotes a backslash is followed by another one, a quote, n or t"),
            },
            '\n' | '\r' => return Err("a quote is not closed before the line ends"),
            other => value.push(other),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";

    #[test]
    fn a_module_and_its_options_are_read() {
        let text = format!("{PLAIN} required\n username=alice\tpassword='p\\\\a\\\"s;=s' ;");
        let mut jaas = Jaas::read(&text).unwrap();
        assert_eq!(jaas.module, Module::Plain);
        assert!(!format!("{jaas:?}").contains("p\\a"));
        assert_eq!(jaas.take("username"), Some("alice".into()));
        assert_eq!(jaas.take("password"), Some("p\\a\"s;=s".into()));
        assert_eq!((jaas.take("password"), jaas.is_done()), (None, true));
    }

    #[cfg(feature = "oidc")]
    #[test]
    fn options_of_a_family_are_taken_together() {
        let oauth = PLAIN.replace("plain.Plain", "oauthbearer.OAuthBearer");
        let mut jaas = Jaas::read(&format!("{oauth} REQUIRED extension_a=\"1\" x=\"2\";")).unwrap();
        assert_eq!(jaas.take_all("extension_"), [("a".to_owned(), "1".into())]);
        assert!(!jaas.is_done());
    }

    #[test]
    fn everything_else_is_refused_without_a_word_of_it() {
        for (text, said) in [
            (String::new(), FORM),
            (PLAIN.to_owned(), FORM),
            (format!("{PLAIN} required username=\"alice\""), FORM),
            (format!("{PLAIN} always;"), FORM),
            (format!("{PLAIN} required password=\"p\";;"), "it has more than one login module"),
            (format!("{PLAIN} required;{PLAIN} required;"), "it has more than one login module"),
            (format!("{PLAIN} required password=123;"), FORM),
            (format!("{PLAIN} required password=\"x"), "a quote is not closed"),
            (format!("{PLAIN} required password=\"x\n\";"), "a quote is not closed before the line ends"),
            (
                format!("{PLAIN} required password=\"\\u0041\";"),
                "in quotes a backslash is followed by another one, a quote, n or t",
            ),
            (format!("{PLAIN} required a=\"1\" a=\"2\";"), "an option is there twice"),
            (format!("{PLAIN} required // user\n;"), FORM),
            ("com.sun.security.auth.module.JndiLoginModule required;".to_owned(), MODULES),
            (
                "software.amazon.msk.auth.iam.IAMLoginModule required;".to_owned(),
                "Amazon's login is MskIam, by ClientBuilder::sasl and the feature `msk-iam`",
            ),
        ] {
            assert_eq!(Jaas::read(&text).unwrap_err(), said, "{text}");
        }
    }
}
