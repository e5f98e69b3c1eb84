export default function About() {
  return (
    <>
      <h1>About us</h1>
      <p>We sell plants (release-a).</p>
    </>
  );
}
