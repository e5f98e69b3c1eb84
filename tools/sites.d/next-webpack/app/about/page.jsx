import "./about.css";

export default function About() {
  return (
    <>
      <h1>About us</h1>
      <p className="words">We sell plants.</p>
    </>
  );
}
