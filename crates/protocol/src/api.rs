//! The table of APIs: which messages belong to a key, which versions exist, and which headers go with them.

use crate::messages::ApiKey;

/// A message that stands alone on the wire.
pub trait Message {
    /// The name in the schema.
    const NAME: &'static str;
}

/// A request of some API.
pub trait RequestMessage: Message + Into<crate::messages::Request> {
    /// The API.
    const API_KEY: crate::messages::ApiKey;
    /// What answers it.
    type Response: ResponseMessage;
}

/// A response of some API.
pub trait ResponseMessage: Message + Into<crate::messages::Response> {
    /// The API.
    const API_KEY: crate::messages::ApiKey;

    /// The response, when it is of this API.
    fn from_response(response: crate::messages::Response) -> Option<Self>;
}

/// Makes the types of the catalogue out of its table.
macro_rules! apis {
    ($($api:ident = $key:literal: $request:ident, $response:ident,
       versions $first:literal to $last:literal (stable to $stable:literal), flexible from $flexible:expr
       $(, feature $feature:tt)?;)*) => {
        /// What a request asks for: every API of Kafka 4.3.1, whether its messages are compiled in or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", $key, ", versions ", $first, " to ", $last, ".")]
                $(#[doc = concat!("Its messages need the feature `", $feature, "`.")])?
                $api = $key,
            )*
        }

        impl ApiKey {
            /// Every API, in the order of the keys.
            pub const ALL: &'static [Self] = &[$(Self::$api),*];

            /// The API of this key.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$api),)*
                    _ => None,
                }
            }

            /// The key on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The name in the schemas.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// True when its messages are compiled in, which for some APIs takes a feature.
            #[must_use]
            pub const fn has_messages(self) -> bool {
                match self {
                    $(Self::$api => true $(&& cfg!(feature = $feature))?,)*
                }
            }

            /// The versions that can be encoded and decoded: with the feature `unstable` those too whose format may
            /// still change.
            #[must_use]
            pub const fn versions(self) -> std::ops::RangeInclusive<i16> {
                if !cfg!(feature = "unstable") {
                    return self.stable_versions();
                }
                match self {
                    $(Self::$api => $first..=$last,)*
                }
            }

            /// The versions whose format is settled: those a client may choose from.
            #[must_use]
            pub const fn stable_versions(self) -> std::ops::RangeInclusive<i16> {
                match self {
                    $(Self::$api => $first..=$stable,)*
                }
            }

            /// True when this version has compact lengths and tagged fields (KIP-482).
            #[must_use]
            pub const fn is_flexible(self, version: i16) -> bool {
                match self {
                    $(Self::$api => version >= $flexible,)*
                }
            }
        }

        /// Any request.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Request {
            $(
                #[doc = concat!("See [`", stringify!($request), "`].")]
                $(#[cfg(feature = $feature)])?
                $api($request),
            )*
        }

        #[cfg(feature = "serde")]
        impl crate::wire::json::ToJson for Request {
            fn to_json<S: serde::Serializer>(
                &self,
                style: crate::wire::json::Style,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(body) => body.to_json(style, serializer),)*
                }
            }
        }

        impl Request {
            /// The API it belongs to.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(_) => ApiKey::$api,)*
                }
            }
        }

        #[cfg(feature = "client")]
        impl crate::wire::Encode for Request {
            fn encode<'v>(
                &'v self,
                writer: &mut crate::wire::Writer<'v>,
                version: i16,
            ) -> Result<(), crate::EncodeError> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(body) => body.encode(writer, version),)*
                }
            }
        }

        #[cfg(feature = "broker")]
        impl Request {
            /// Reads the request of `api` and leaves the reader behind it.
            ///
            /// # Errors
            /// When the bytes are not that request.
            pub fn decode(
                api: ApiKey,
                reader: &mut crate::wire::Reader<'_>,
                version: i16,
            ) -> Result<Self, crate::DecodeError> {
                match api {
                    $(
                        $(#[cfg(feature = $feature)])?
                        ApiKey::$api => reader.structure(version).map(Self::$api),
                        $(
                            #[cfg(not(feature = $feature))]
                            ApiKey::$api => Err(reader.error(crate::DecodeErrorKind::MissingFeature(api))),
                        )?
                    )*
                }
            }
        }

        /// Any response.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Response {
            $(
                #[doc = concat!("See [`", stringify!($response), "`].")]
                $(#[cfg(feature = $feature)])?
                $api($response),
            )*
        }

        #[cfg(feature = "serde")]
        impl crate::wire::json::ToJson for Response {
            fn to_json<S: serde::Serializer>(
                &self,
                style: crate::wire::json::Style,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(body) => body.to_json(style, serializer),)*
                }
            }
        }

        impl Response {
            /// The API it belongs to.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(_) => ApiKey::$api,)*
                }
            }
        }

        #[cfg(feature = "broker")]
        impl crate::wire::Encode for Response {
            fn encode<'v>(
                &'v self,
                writer: &mut crate::wire::Writer<'v>,
                version: i16,
            ) -> Result<(), crate::EncodeError> {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$api(body) => body.encode(writer, version),)*
                }
            }
        }

        #[cfg(feature = "client")]
        impl Response {
            /// Reads the response of `api` and leaves the reader behind it.
            ///
            /// # Errors
            /// When the bytes are not that response.
            pub fn decode(
                api: ApiKey,
                reader: &mut crate::wire::Reader<'_>,
                version: i16,
            ) -> Result<Self, crate::DecodeError> {
                match api {
                    $(
                        $(#[cfg(feature = $feature)])?
                        ApiKey::$api => reader.structure(version).map(Self::$api),
                        $(
                            #[cfg(not(feature = $feature))]
                            ApiKey::$api => Err(reader.error(crate::DecodeErrorKind::MissingFeature(api))),
                        )?
                    )*
                }
            }
        }

        $(
            $(#[cfg(feature = $feature)])?
            impl crate::api::Message for $request {
                const NAME: &'static str = stringify!($request);
            }

            $(#[cfg(feature = $feature)])?
            impl From<$request> for Request {
                fn from(body: $request) -> Self {
                    Self::$api(body)
                }
            }

            $(#[cfg(feature = $feature)])?
            impl crate::api::RequestMessage for $request {
                const API_KEY: ApiKey = ApiKey::$api;
                type Response = $response;
            }

            $(#[cfg(feature = $feature)])?
            impl crate::api::Message for $response {
                const NAME: &'static str = stringify!($response);
            }

            $(#[cfg(feature = $feature)])?
            impl From<$response> for Response {
                fn from(body: $response) -> Self {
                    Self::$api(body)
                }
            }

            $(#[cfg(feature = $feature)])?
            impl crate::api::ResponseMessage for $response {
                const API_KEY: ApiKey = ApiKey::$api;

                fn from_response(response: Response) -> Option<Self> {
                    match response {
                        Response::$api(body) => Some(body),
                        _ => None,
                    }
                }
            }
        )*
    };
}

pub(crate) use apis;

impl ApiKey {
    /// The version of the header before a request of this version.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before a response of this version.
    ///
    /// An ApiVersions response always has the first one: a client that asks does not know yet what it may be answered
    /// (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            Self::ApiVersions => 0,
            _ if self.is_flexible(version) => 1,
            _ => 0,
        }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
