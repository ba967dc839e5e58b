//! Boards to print and to look at: PDF and SVG in true size, PNG for screens.
//!
//! Decides the page: the board in its middle, a margin of white that detectors need, a line that says what it is and a ruler
//! of 100 mm, or as much as the page has room for, to check the printer with.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str};

use crate::Board;

/// White around the board, m.
const MARGIN_M: f64 = 0.012;
/// PDF units per metre: 1/72 inch.
const POINTS: f64 = 72.0 / 0.0254;
/// Length of the ruler where the page is wide enough, m.
const RULER_M: f64 = 0.1;

/// Length of the ruler, m: it begins where the board does.
fn ruler_m(board: &Board) -> f64 {
    let ([width, _], [left, _]) = page(board);
    RULER_M.min(width - left - MARGIN_M)
}

fn label(board: &Board) -> String {
    let mm = (ruler_m(board) * 1e4).round() / 10.0;
    format!("{board}   print at 100 %, glue it on something flat; this line is {mm} mm:")
}

/// Page size, m, and where on it the board's upper left corner is.
fn page(board: &Board) -> ([f64; 2], [f64; 2]) {
    let [width, height] = board.size_m();
    // A4 across where that is enough, which is what most printers have.
    let (a4, needed) = (
        [0.297, 0.210],
        [width + 2.0 * MARGIN_M, height + 2.0 * MARGIN_M],
    );
    let page = if needed[0] <= a4[0] && needed[1] <= a4[1] {
        a4
    } else {
        needed
    };
    (page, [(page[0] - width) / 2.0, (page[1] - height) / 2.0])
}

/// A PDF file of one page.
pub fn pdf(board: &Board) -> Vec<u8> {
    let ([width, height], [left, top]) = page(board);
    let mut content = Content::new();
    let points = |m: f64| (m * POINTS) as f32;
    for patch in board.patches() {
        content.set_fill_gray(if patch.white { 1.0 } else { 0.0 });
        // A PDF's y goes up.
        let low = height - top - patch.y - patch.height;
        content.rect(
            points(left + patch.x),
            points(low),
            points(patch.width),
            points(patch.height),
        );
        content.fill_nonzero();
    }
    let foot = (height - top - board.size_m()[1]) / 2.0;
    content.set_fill_gray(0.3);
    content.begin_text();
    content.set_font(Name(b"F1"), 7.0);
    content.next_line(points(left), points(foot + 0.001));
    content.show(Str(label(board).as_bytes()));
    content.end_text();
    content.rect(
        points(left),
        points(foot - 0.001),
        points(ruler_m(board)),
        0.6,
    );
    content.fill_nonzero();

    let [catalog, pages, leaf, text, font] = [1, 2, 3, 4, 5].map(Ref::new);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([leaf]).count(1);
    let mut one = pdf.page(leaf);
    one.media_box(Rect::new(0.0, 0.0, points(width), points(height)));
    one.parent(pages);
    one.contents(text);
    one.resources().fonts().pair(Name(b"F1"), font);
    one.finish();
    pdf.type1_font(font).base_font(Name(b"Helvetica"));
    pdf.stream(text, &content.finish());
    pdf.finish()
}

/// An SVG file, whose sizes are millimetres.
pub fn svg(board: &Board) -> String {
    let ([width, height], [left, top]) = page(board);
    let mm = |m: f64| (m * 1e7).round() / 1e4;
    let (w, h) = (mm(width), mm(height));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}mm\" height=\"{h}mm\" viewBox=\"0 0 {w} {h}\">\n\
         <rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n"
    );
    for patch in board.patches() {
        let (x, y) = (mm(left + patch.x), mm(top + patch.y));
        let (w, h) = (mm(patch.width), mm(patch.height));
        let colour = if patch.white { "#fff" } else { "#000" };
        svg += &format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"{colour}\"/>\n"
        );
    }
    let foot = top + board.size_m()[1] + (height - top - board.size_m()[1]) / 2.0;
    svg += &format!(
        "<text x=\"{}\" y=\"{}\" font-family=\"Helvetica,sans-serif\" font-size=\"2.5\" fill=\"#444\">{}</text>\n\
         <rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"0.2\" fill=\"#444\"/>\n</svg>\n",
        mm(left),
        mm(foot - 0.001),
        label(board),
        mm(left),
        mm(foot + 0.001),
        mm(ruler_m(board)),
    );
    svg
}

/// Grey bytes of the board alone within a white margin, for screens and tests: width, height, rows from the top. `scale` is
/// pixels per metre, `margin` white pixels on each side.
pub fn raster(board: &Board, scale: f64, margin: usize) -> (usize, usize, Vec<u8>) {
    let pixels = |m: f64| (m * scale).round() as usize;
    let [w, h] = board.size_m();
    let (width, height) = (pixels(w) + 2 * margin, pixels(h) + 2 * margin);
    let mut grey = vec![255; width * height];
    for patch in board.patches() {
        let (left, right) = (pixels(patch.x), pixels(patch.x + patch.width));
        for y in pixels(patch.y)..pixels(patch.y + patch.height) {
            let row = (y + margin) * width + margin;
            grey[row + left..row + right].fill(if patch.white { 255 } else { 0 });
        }
    }
    (width, height, grey)
}

/// A PNG file of the board: 10 pixels per millimetre.
///
/// # Errors
/// What the encoder says.
pub fn png(board: &Board) -> Result<Vec<u8>, png::EncodingError> {
    const PER_M: f64 = 10_000.0;
    let (width, height, grey) = raster(board, PER_M, (MARGIN_M * PER_M) as usize);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: PER_M as u32,
        yppu: PER_M as u32,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&grey)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_their_true_size() {
        let board = Board::default();
        let text = String::from_utf8_lossy(&pdf(&board)).into_owned();
        // 297 x 210 mm in points, and a square of 35 mm.
        assert!(
            text.starts_with("%PDF-") && text.contains("/MediaBox [0 0 841.88"),
            "{text}"
        );
        assert!(text.contains("99.21"), "{text}");
        let svg = svg(&board);
        assert!(svg.contains("width=\"297mm\"") && svg.contains("width=\"35\" height=\"35\""));
        // The ruler is as long as it says: on a page that is wider than a small board, and on one that is not.
        let small: Board = "chessboard:5x4:12.5".parse().expect("legal");
        let svg = super::svg(&small);
        assert!(
            svg.contains("this line is 100 mm") && svg.contains("width=\"100\" height=\"0.2\"")
        );
        let narrow: Board = "chessboard:4x20:15".parse().expect("legal");
        assert!(page(&narrow).0[0] < RULER_M, "{:?}", page(&narrow));
        let long = narrow.size_m()[0] * 1e3;
        let svg = super::svg(&narrow);
        assert!(svg.contains(&format!("this line is {long} mm")), "{svg}");
        assert!(svg.contains(&format!("width=\"{long}\" height=\"0.2\"")));
        let large: Board = "charuco:7x5:100".parse().expect("legal");
        assert!(super::svg(&large).contains("width=\"724mm\" height=\"524mm\""));
        let (width, height, grey) = raster(&board, 1000.0, 10);
        assert_eq!((width, height), (265, 195));
        // The upper left square is black, the middle of the margin white, the one beside it holds a marker.
        assert_eq!((grey[15 * width + 15], grey[5]), (0, 255));
        assert_eq!(&png(&board).expect("encoded")[1..4], b"PNG");
    }
}
