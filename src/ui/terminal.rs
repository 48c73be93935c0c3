//! A terminal for as long as something is shown on it that changes: keys come at once and unseen, and what was there comes back.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Another screen, without a cursor; and back.
const SCREEN: (&str, &str) = ("\u{1b}[?1049h\u{1b}[?25l", "\u{1b}[?25h\u{1b}[?1049l");

/// To the upper left corner. Each line is then cleared before it is written, and at last what is below: nothing flickers.
const HOME: &str = "\u{1b}[H";

/// Clears to the end of the line, and to the end of the screen.
const CLEAR: (&str, &str) = ("\u{1b}[K", "\u{1b}[J");

/// The terminal, taken.
pub struct Terminal {
    /// How it was, where somebody types on it.
    before: Option<Termios>,
}

impl Terminal {
    /// Takes it.
    pub fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            // Ctrl-C stays a signal; stopped half-way, it would leave a shell that shows nothing of what is typed.
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        }
        let terminal = Terminal { before };
        match write!(io::stdout(), "{}", SCREEN.0).and_then(|()| io::stdout().flush()) {
            Ok(()) => Ok(terminal),
            Err(error) => terminal.give_back().and(Err(error)),
        }
    }

    /// Gives it back as it was: the keys first, whether or not anything can be written.
    pub fn give_back(self) -> io::Result<()> {
        let keys = self.before.map_or(Ok(()), |before| tcsetattr(io::stdin(), OptionalActions::Now, &before));
        write!(io::stdout(), "{}", SCREEN.1)?;
        io::stdout().flush()?;
        Ok(keys?)
    }

    /// Shows a text in place of what was shown.
    pub fn show(&self, text: &str) -> io::Result<()> {
        let lines: Vec<String> = text.lines().map(|line| format!("{line}{}", CLEAR.0)).collect();
        let mut stdout = anstream::stdout().lock();
        write!(stdout, "{HOME}{}{}", lines.join("\r\n"), CLEAR.1)?;
        stdout.flush()
    }

    /// What keys come from, if somebody can type.
    pub fn keys(&self) -> Option<Keys> {
        self.before.is_some().then_some(Keys(io::stdin()))
    }
}

/// Where keys come from.
pub struct Keys(io::Stdin);

impl Keys {
    /// Was `q` pressed? Only where there is something to read.
    pub fn ends(&mut self) -> bool {
        let mut keys = [0; 16];
        // Not by way of std's buffer: what stays in it can't be waited for.
        match rustix::io::read(&self.0, &mut keys) {
            Ok(0) | Err(_) => true,
            Ok(count) => keys[..count].contains(&b'q'),
        }
    }
}

impl AsFd for Keys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
