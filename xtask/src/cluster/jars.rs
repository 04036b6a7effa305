//! Java and Kafka's jars: what a broker needs when there is no Docker.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::process;
use crate::interrupt::Interrupt;

/// The oldest Java that runs a broker of Kafka 4.
const JAVA: u32 = 17;

/// Maven's download of 54 MB takes seconds; this bounds a stuck one.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// The `java` of JAVA_HOME, else that of the PATH.
pub(crate) fn java() -> anyhow::Result<PathBuf> {
    const INSTALL: &str = "install it with: apt-get install -y openjdk-17-jdk-headless";
    let java = match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let output = match Command::new(&java).arg("-version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("Java {JAVA} or newer is missing ({} not found); {INSTALL}", java.display())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot run {}", java.display())),
    };
    let banner = String::from_utf8_lossy(&output.stderr);
    let found = major_version(&banner).with_context(|| {
        format!("{} -version says nothing we understand: {}", java.display(), banner.trim())
    })?;
    ensure!(found >= JAVA, "Java {JAVA} or newer is needed, {} is Java {found}; {INSTALL}", java.display());
    Ok(java)
}

/// The oldest Java that runs the schema registry.
pub(crate) const REGISTRY_JAVA: u32 = 21;

/// A `java` of at least this version: `JAVA_HOME_VERSION`, JAVA_HOME, the PATH, or a JDK under /usr/lib/jvm.
pub(crate) fn java_of(oldest: u32) -> anyhow::Result<PathBuf> {
    let homes = [format!("JAVA_HOME_{oldest}"), "JAVA_HOME".to_owned()];
    let mut candidates: Vec<PathBuf> =
        homes.iter().filter_map(std::env::var_os).map(|home| Path::new(&home).join("bin/java")).collect();
    candidates.push(PathBuf::from("java"));
    if let Ok(installed) = fs::read_dir("/usr/lib/jvm") {
        candidates.extend(installed.flatten().map(|jdk| jdk.path().join("bin/java")));
    }
    let is_new_enough = |java: &PathBuf| {
        let output = Command::new(java).arg("-version").stdin(Stdio::null()).output();
        let version = output.ok().and_then(|output| major_version(&String::from_utf8_lossy(&output.stderr)));
        version.is_some_and(|version| version >= oldest)
    };
    candidates.into_iter().find(is_new_enough).with_context(|| {
        format!(
            "the schema registry needs Java {oldest} or newer, and there is none in JAVA_HOME_{oldest}, JAVA_HOME, the PATH \
             and /usr/lib/jvm; install it with: apt-get install -y openjdk-{oldest}-jre-headless"
        )
    })
}

/// The folder with the schema registry's jars, under `target`. Maven fetches them once.
pub(crate) fn registry(root: &Path, version: &str, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let cache = root.join("target/registry");
    let app = cache.join(version);
    if app.is_dir() {
        return Ok(app);
    }
    eprintln!("fetching Apicurio Registry {version} with Maven…");
    let partial = cache.join(format!("{version}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let log_path = partial.with_extension("log");
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"])
        .arg(format!("-Dartifact=io.apicurio:apicurio-registry-app:{version}:tar.gz:all"))
        .arg(format!("-DoutputDirectory={}", partial.display()));
    run_logged(maven, &log_path, interrupt)
        .context("Maven could not fetch the schema registry; the next `up --registry` tries again")?;
    let archive = partial.join(format!("apicurio-registry-app-{version}-all.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(&partial);
    run_logged(tar, &log_path, interrupt).context("cannot unpack the schema registry")?;
    fs::remove_file(&archive)?;
    ensure!(partial.join("quarkus-run.jar").is_file(), "there is no quarkus-run.jar in the schema registry");
    fs::rename(&partial, &app)?;
    Ok(app)
}

fn run_logged(mut command: Command, log_path: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
    let log = File::create(log_path)?;
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let status = process::wait(&mut child, DOWNLOAD_LIMIT, interrupt).with_context(|| program.clone())?;
    ensure!(status.success(), "{program} failed ({status}):\n{}", super::tail(log_path, ""));
    Ok(())
}

/// The major version of a banner such as `openjdk version "17.0.15" 2025-04-15`. Up to Java 8 it was `"1.8.0_362"`.
fn major_version(banner: &str) -> Option<u32> {
    let version = banner.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let first = numbers.next()?.parse().ok()?;
    if first == 1 { numbers.next()?.parse().ok() } else { Some(first) }
}

/// The folder with the jars of `version`, under `target`. Maven fetches them once.
///
/// The folder gets its name when it is whole: a download that was cut off is not taken for it.
pub(crate) fn kafka(root: &Path, version: &str, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let cache = root.join("target/kafka");
    let jars = cache.join(version);
    if jars.is_dir() {
        return Ok(jars);
    }
    eprintln!("fetching Kafka {version} with Maven…");
    let begin = Instant::now();
    let partial = cache.join(format!("{version}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    download(root, version, &partial, interrupt)?;
    for name in [format!("kafka-clients-{version}.jar"), format!("kafka_2.13-{version}.jar")] {
        ensure!(partial.join(&name).is_file(), "Maven did not bring {name}");
    }
    fs::rename(&partial, &jars)?;
    let count = fs::read_dir(&jars)?.count();
    eprintln!("fetched {count} jars in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(jars)
}

fn download(root: &Path, version: &str, into: &Path, interrupt: &Interrupt) -> anyhow::Result<()> {
    let log_path = into.with_extension("log");
    let log = File::create(&log_path)?;
    let child = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "--file"])
        .arg(root.join("xtask/kafka/pom.xml"))
        .arg("dependency:copy-dependencies")
        .arg(format!("-Dkafka.version={version}"))
        .arg(format!("-DoutputDirectory={}", into.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("Maven is missing (mvn not found); install it with: apt-get install -y maven")
        }
        child => child.context("cannot run mvn")?,
    };
    let status = process::wait(&mut child, DOWNLOAD_LIMIT, interrupt).context("mvn")?;
    ensure!(
        status.success(),
        "Maven could not fetch Kafka {version} ({status}):\n{}\nthe next `up` tries again",
        super::tail(&log_path, "")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_old_and_new_are_read() {
        for (banner, version) in [
            ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime", Some(17)),
            ("openjdk version \"25\" 2025-09-16", Some(25)),
            ("java version \"1.8.0_362\"", Some(8)),
            ("openjdk version \"21-ea\" 2023-09-19", Some(21)),
            ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"17.0.1\"", Some(17)),
            ("command not found", None),
        ] {
            assert_eq!(major_version(banner), version, "{banner}");
        }
    }
}
