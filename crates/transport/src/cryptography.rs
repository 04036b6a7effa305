//! Whose cryptography TLS uses: that of the features this was built with.
//!
//! Graviola compiles no C and is the default. Who asks for ring or aws-lc-rs by a feature gets it, also where another
//! crate of the same program left the default on: aws-lc-rs before ring, ring before graviola.

use rustls::crypto::CryptoProvider;

use crate::TlsError;

#[cfg(not(any(feature = "tls", feature = "ring", feature = "aws-lc-rs")))]
compile_error!("TLS needs cryptography: take one of the features `tls`, `ring` and `aws-lc-rs` as well");

/// The cryptography.
///
/// # Errors
/// When this processor lacks what it needs.
#[cfg(feature = "aws-lc-rs")]
pub(crate) fn cryptography() -> Result<CryptoProvider, TlsError> {
    Ok(rustls::crypto::aws_lc_rs::default_provider())
}

/// The cryptography.
///
/// # Errors
/// When this processor lacks what it needs.
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(crate) fn cryptography() -> Result<CryptoProvider, TlsError> {
    Ok(rustls::crypto::ring::default_provider())
}

/// The cryptography.
///
/// # Errors
/// When this processor lacks what it needs.
#[cfg(all(feature = "tls", not(any(feature = "ring", feature = "aws-lc-rs"))))]
pub(crate) fn cryptography() -> Result<CryptoProvider, TlsError> {
    if graviola::util::is_cpu_supported() {
        Ok(rustls_graviola::default_provider())
    } else {
        Err(TlsError::UnsupportedCpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_other_cryptography_gets_it() {
        let random = cryptography().unwrap().secure_random;
        let expected = match () {
            () if cfg!(feature = "aws-lc-rs") => "AwsLcRs",
            () if cfg!(feature = "ring") => "Ring",
            () => "RngProvider",
        };
        assert_eq!(format!("{random:?}"), expected);
    }
}
