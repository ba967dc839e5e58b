//! A small interpreter of URScript: assignments, `while`, `if`, arithmetic, lists, calls. Enough to run the program that a
//! driver sends as it is written; what it does not know is an error, as it would be on a controller.
//!
//! A program runs until something takes time (`sync`, `servoj`, `stopj`), and goes on when that is over.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Num(f64),
    Bool(bool),
    List(Vec<f64>),
    None,
}

impl Value {
    pub fn num(&self) -> Result<f64, String> {
        match self {
            Self::Num(n) => Ok(*n),
            other => Err(format!("{other:?} is no number")),
        }
    }

    fn truth(&self) -> Result<bool, String> {
        match self {
            Self::Bool(b) => Ok(*b),
            other => Err(format!("{other:?} is neither true nor false")),
        }
    }

    pub fn joints(&self) -> Result<[f64; 6], String> {
        match self {
            Self::List(list) => list
                .as_slice()
                .try_into()
                .map_err(|_| format!("{list:?} are not six joints")),
            other => Err(format!("{other:?} are no joints")),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Is(Value),
    Name(String),
    List(Vec<Expr>),
    At(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Op(&'static str, Box<Expr>, Box<Expr>),
    Call(String, Vec<(Option<String>, Expr)>),
}

/// What is done at a place of the program.
#[derive(Debug, Clone)]
enum Step {
    Set(String, Expr),
    Do(Expr),
    Unless(Expr, usize),
    Jump(usize),
    End,
}

/// A call, as whoever knows the robot sees it.
pub struct Call {
    pub name: String,
    pub args: Vec<Value>,
    pub named: BTreeMap<String, Value>,
}

impl Call {
    pub fn arg(&self, at: usize, name: &str) -> Result<&Value, String> {
        let arg = self.named.get(name).or(self.args.get(at));
        arg.ok_or_else(|| format!("{}: no argument `{name}`", self.name))
    }
}

/// What calls do.
pub trait Robot {
    /// The value of `call`; `true` with it when it takes time.
    fn call(&mut self, call: &Call) -> Result<(Value, bool), String>;
}

#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    steps: Vec<Step>,
    at: usize,
    vars: BTreeMap<String, Value>,
}

/// Whether `text` has as many `end`s as it opens blocks: all of a program has come.
pub fn whole(text: &str) -> bool {
    let mut open = 0i32;
    let mut any = false;
    for line in text.lines().map(code) {
        let word = line.split([' ', ':', '(']).next().unwrap_or("");
        match word {
            "def" | "while" | "if" | "thread" | "for" | "sec" => {
                open += 1;
                any = true;
            }
            "end" => open -= 1,
            _ => {}
        }
    }
    any && open <= 0
}

fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or("").trim()
}

/// An open block.
enum Block {
    Def,
    While(usize, usize),
    /// The test that is to jump here if it fails, and the jumps to the end.
    If(Option<usize>, Vec<usize>),
}

impl Program {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut program = Self {
            name: String::new(),
            steps: Vec::new(),
            at: 0,
            vars: BTreeMap::new(),
        };
        let mut blocks: Vec<Block> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = code(line);
            if line.is_empty() {
                continue;
            }
            let fail = |e: String| format!("line {}: `{line}`: {e}", number + 1);
            program.line(line, &mut blocks).map_err(fail)?;
        }
        match blocks.is_empty() {
            true => Ok(program),
            false => Err("a block without `end`".into()),
        }
    }

    fn line(&mut self, line: &str, blocks: &mut Vec<Block>) -> Result<(), String> {
        let here = self.steps.len();
        let head = |word: &str| {
            line.strip_prefix(word)
                .and_then(|rest| rest.strip_suffix(':'))
        };
        if let Some(name) = head("def ") {
            self.name = name.trim_end_matches("()").to_owned();
            blocks.push(Block::Def);
        } else if let Some(test) = head("while ") {
            self.steps.push(Step::Unless(expression(test)?, 0));
            blocks.push(Block::While(here, here));
        } else if let Some(test) = head("if ") {
            self.steps.push(Step::Unless(expression(test)?, 0));
            blocks.push(Block::If(Some(here), Vec::new()));
        } else if line == "else:" || line.starts_with("elif ") {
            let Some(Block::If(test, jumps)) = blocks.last_mut() else {
                return Err("no `if` before it".into());
            };
            let from = test.take().ok_or("after `else`")?;
            jumps.push(here);
            self.steps.push(Step::Jump(0));
            if let Some(next) = head("elif ") {
                *test = Some(here + 1);
                self.steps.push(Step::Unless(expression(next)?, 0));
            }
            self.land(from, here + 1);
        } else if line == "end" {
            match blocks.pop().ok_or("nothing to end")? {
                Block::Def => self.steps.push(Step::End),
                Block::While(start, test) => {
                    self.steps.push(Step::Jump(start));
                    self.land(test, here + 1);
                }
                Block::If(test, jumps) => {
                    for from in test.into_iter().chain(jumps) {
                        self.land(from, here);
                    }
                }
            }
        } else if blocks.is_empty() {
            return Err("outside of the program".into());
        } else if let Some((name, value)) = assignment(line) {
            self.steps
                .push(Step::Set(name.to_owned(), expression(value)?));
        } else {
            self.steps.push(Step::Do(expression(line)?));
        }
        Ok(())
    }

    fn land(&mut self, from: usize, to: usize) {
        match &mut self.steps[from] {
            Step::Unless(_, target) | Step::Jump(target) => *target = to,
            other => panic!("{other:?} does not jump"),
        }
    }

    /// Runs until something takes time. False when the program has ended.
    pub fn run(&mut self, robot: &mut dyn Robot) -> Result<bool, String> {
        for _ in 0..10_000 {
            let step = self.steps.get(self.at).cloned().unwrap_or(Step::End);
            self.at += 1;
            match step {
                Step::End => return Ok(false),
                Step::Jump(to) => self.at = to,
                Step::Set(name, value) => {
                    let (value, _) = self.value(&value, robot)?;
                    self.vars.insert(name, value);
                }
                Step::Unless(test, to) => {
                    if !self.value(&test, robot)?.0.truth()? {
                        self.at = to;
                    }
                }
                Step::Do(call) => {
                    if self.value(&call, robot)?.1 {
                        return Ok(true);
                    }
                }
            }
        }
        Err("it runs for ever without taking time".into())
    }

    fn value(&self, expr: &Expr, robot: &mut dyn Robot) -> Result<(Value, bool), String> {
        let mut get = |expr: &Expr| self.value(expr, robot).map(|(value, _)| value);
        let value = match expr {
            Expr::Is(value) => value.clone(),
            Expr::Name(name) => self
                .vars
                .get(name)
                .cloned()
                .ok_or(format!("`{name}` has no value"))?,
            Expr::List(list) => {
                let values: Result<Vec<f64>, String> = list.iter().map(|e| get(e)?.num()).collect();
                Value::List(values?)
            }
            Expr::At(list, at) => match (get(list)?, get(at)?.num()?) {
                (Value::List(list), at) => {
                    Value::Num(*list.get(at as usize).ok_or(format!("no element {at}"))?)
                }
                (other, _) => return Err(format!("{other:?} has no elements")),
            },
            Expr::Not(value) => Value::Bool(!get(value)?.truth()?),
            Expr::Neg(value) => Value::Num(-get(value)?.num()?),
            Expr::Op("and", a, b) => Value::Bool(get(a)?.truth()? && get(b)?.truth()?),
            Expr::Op("or", a, b) => Value::Bool(get(a)?.truth()? || get(b)?.truth()?),
            Expr::Op(op, a, b) => {
                let (a, b) = (get(a)?.num()?, get(b)?.num()?);
                match *op {
                    "==" => Value::Bool(a == b),
                    "!=" => Value::Bool(a != b),
                    "<=" => Value::Bool(a <= b),
                    ">=" => Value::Bool(a >= b),
                    "<" => Value::Bool(a < b),
                    ">" => Value::Bool(a > b),
                    "+" => Value::Num(a + b),
                    "-" => Value::Num(a - b),
                    "*" => Value::Num(a * b),
                    "/" => Value::Num(a / b),
                    other => return Err(format!("`{other}`")),
                }
            }
            Expr::Call(name, args) => {
                let mut call = Call {
                    name: name.clone(),
                    args: Vec::new(),
                    named: BTreeMap::new(),
                };
                for (name, arg) in args {
                    let arg = get(arg)?;
                    match name {
                        Some(name) => drop(call.named.insert(name.clone(), arg)),
                        None => call.args.push(arg),
                    }
                }
                return robot.call(&call);
            }
        };
        Ok((value, false))
    }
}

/// `name = value`, not a comparison nor an argument's name.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name
        .trim()
        .trim_start_matches("local ")
        .trim_start_matches("global ")
        .trim();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !name.is_empty() && !value.starts_with('=')).then_some((name, value))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Num(f64),
    Word(String),
    Sign(&'static str),
}

const SIGNS: [&str; 16] = [
    "==", "!=", "<=", ">=", "<", ">", "=", "+", "-", "*", "/", "(", ")", "[", "]", ",",
];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            let len = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
                .unwrap_or(rest.len());
            tokens.push(Token::Num(
                rest[..len]
                    .parse()
                    .map_err(|e| format!("{}: {e}", &rest[..len]))?,
            ));
            rest = &rest[len..];
        } else if first.is_ascii_alphabetic() || first == '_' {
            let len = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..len].to_owned()));
            rest = &rest[len..];
        } else {
            let sign = SIGNS
                .iter()
                .find(|sign| rest.starts_with(**sign))
                .ok_or(format!("`{first}`"))?;
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

fn expression(text: &str) -> Result<Expr, String> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    let expr = parser.level(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(extra) => Err(format!("{extra:?} is too much")),
    }
}

/// Operators from the loosest to the tightest.
const LEVELS: [&[&str]; 5] = [
    &["or"],
    &["and"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/"],
];

impl Parser {
    fn sign(&mut self, wanted: &str) -> bool {
        let is = match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => *sign == wanted,
            Some(Token::Word(word)) => word == wanted,
            _ => false,
        };
        self.at += usize::from(is);
        is
    }

    fn level(&mut self, level: usize) -> Result<Expr, String> {
        let Some(ops) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.level(level + 1)?;
        while let Some(op) = ops.iter().find(|op| self.sign(op)) {
            left = Expr::Op(op, Box::new(left), Box::new(self.level(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, String> {
        if self.sign("not") {
            return Ok(Expr::Not(Box::new(self.unary()?)));
        }
        if self.sign("-") {
            return Ok(Expr::Neg(Box::new(self.unary()?)));
        }
        let mut expr = self.atom()?;
        while self.sign("[") {
            expr = Expr::At(Box::new(expr), Box::new(self.level(0)?));
            self.close("]")?;
        }
        Ok(expr)
    }

    fn close(&mut self, sign: &str) -> Result<(), String> {
        self.sign(sign).then_some(()).ok_or(format!("no `{sign}`"))
    }

    fn atom(&mut self) -> Result<Expr, String> {
        if self.sign("(") {
            let expr = self.level(0)?;
            return self.close(")").map(|()| expr);
        }
        if self.sign("[") {
            let mut list = Vec::new();
            while !self.sign("]") {
                list.push(self.level(0)?);
                self.sign(",");
            }
            return Ok(Expr::List(list));
        }
        let token = self
            .tokens
            .get(self.at)
            .cloned()
            .ok_or("something is missing")?;
        self.at += 1;
        match token {
            Token::Num(n) => Ok(Expr::Is(Value::Num(n))),
            Token::Word(word) if word == "True" => Ok(Expr::Is(Value::Bool(true))),
            Token::Word(word) if word == "False" => Ok(Expr::Is(Value::Bool(false))),
            Token::Word(word) if self.sign("(") => {
                let mut args = Vec::new();
                while !self.sign(")") {
                    let name = match (self.tokens.get(self.at), self.tokens.get(self.at + 1)) {
                        (Some(Token::Word(name)), Some(Token::Sign("="))) => Some(name.clone()),
                        _ => None,
                    };
                    self.at += if name.is_some() { 2 } else { 0 };
                    args.push((name, self.level(0)?));
                    self.sign(",");
                }
                Ok(Expr::Call(word, args))
            }
            Token::Word(word) => Ok(Expr::Name(word)),
            Token::Sign(sign) => Err(format!("`{sign}` here")),
        }
    }
}
