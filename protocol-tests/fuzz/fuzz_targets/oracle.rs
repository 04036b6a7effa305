//! A message that we accept, read and written by an independent implementation: the bytes must be the same.
#![no_main]

use milena_fuzz::oracle;

milena_fuzz::run!(oracle::agrees);
